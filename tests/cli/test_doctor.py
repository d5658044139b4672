"""What `doctor` prints, and its exit code."""

import json
import os
import sys

import pytest

from squeezekit.cli import main
from squeezekit.workflows import doctor


@pytest.fixture(autouse=True)
def facts(monkeypatch):
    torch = {"instructions": ["avx2", "avx512_bf16"], "used": "AVX512", "threads": 3, "cuda": "13.0", "gpus": []}
    found = {"torch": torch, "kernels": "not compiled", "cache": os.environ["SQUEEZEKIT_CACHE"]}
    monkeypatch.setattr(doctor, "_trial", lambda _modules: (found, {}))
    return found


def test_all_that_is_known_is_printed_with_what_it_means(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for text in ("AVX-512 BF16: training in bf16", "threads: 3", "though torch is built for CUDA 13.0", "in the background"):
        assert text in said
    assert said.splitlines()[-1].split() == ["result", "all", "is", "well"]


def test_a_graphics_card_is_named(facts, capsys):
    facts["torch"]["gpus"] = [{"name": "Fast 9000", "bytes": 16 * 2**30}]
    assert main(["doctor"]) == 0
    assert "GPU           Fast 9000, 16 GiB" in capsys.readouterr().out


def test_what_stops_work_is_1_for_readers_and_scripts(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_trial", lambda _modules: ({}, {"torch": "libtoy.so: cannot open"}))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("PROBLEM       torch cannot be imported (libtoy.so") for line in said)
    assert said[-1].startswith("result        1 to be put right")
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["well"] is False and [each["stops"] for each in found["problems"]] == [True]


def test_without_the_package_that_reads_versions_one_sentence_says_so(monkeypatch, capsys):
    for name in [
        name for name in sys.modules if name.startswith(("squeezekit.workflows.doctor", "squeezekit.system.requirements"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert main(["doctor"]) == 1
    assert "is missing: pip install" in capsys.readouterr().err
