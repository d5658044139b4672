"""The process that imports packages, which may be broken."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_what_fails_is_named_and_the_rest_is_told(tmp_path, monkeypatch):
    (tmp_path / "toy_broken.py").write_text("print('{not json')\nraise OSError('libtoy.so: cannot open\\nmore')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    command = [sys.executable, "-P", "-m", "squeezekit.workflows.import_trial", "json", "toy_broken", "toy_absent"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = {}
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        facts |= line
    assert [line["trying"] for line in lines if "trying" in line] == ["json", "toy_broken", "toy_absent", "torch", "squeezekit"]
    failed = {line["failed"]: line["why"] for line in lines if "failed" in line}
    assert failed == {"toy_broken": "libtoy.so: cannot open", "toy_absent": "No module named 'toy_absent'"}
    assert facts["torch"]["threads"] >= 1 and facts["torch"]["instructions"] and facts["kernels"] == "off" and facts["cache"]
