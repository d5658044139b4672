"""The transcript in docs/guides/update.md: every command as it stands, with the answers that stand there, numbers aside."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def commands(text):
    """Each command of the page's transcripts, with the lines that follow it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *answer = part.rstrip("\n").split("\n")
            yield command, answer


def without_numbers(line):
    """Keys and numbers are others each time."""
    return re.sub(r"[-+]?\d[\d,.]*%?", "N", re.sub(r"\b[0-9a-f]{8}\b", "KEY", line))


@pytest.mark.timeout(600)
def test_the_transcript_is_what_happens(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SQUEEZEKIT_PASSPHRASE": "of a test", "COLUMNS": "200"}
    found = list(commands((ROOT / "docs" / "guides" / "update.md").read_text()))
    assert len(found) >= 12
    for command, answer in found:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        lines = [without_numbers(line.rstrip()) for line in (done.stdout + done.stderr).splitlines()]
        for line in answer:
            assert without_numbers(line.rstrip()) in lines, (command, line, lines)
        refused = any(line.startswith("squeezekit: ") for line in answer)
        assert (done.returncode != 0) == refused, (command, done.stderr)
