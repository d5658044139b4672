"""The transcript in docs/guides/update.md: every command as it stands, with the answers that stand there, numbers aside."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from squeezekit.cli import main

ROOT = Path(__file__).parents[1]


def commands(text):
    """Each command of the page's transcripts, with the lines that follow it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *answer = part.rstrip("\n").split("\n")
            yield command, answer


def without_numbers(line):
    """Keys and numbers are others each time."""
    return re.sub(r"[-+]?\d[\d,.]*%?", "N", re.sub(r"\b[0-9a-f]{8}\b", "KEY", line))


def done(command):
    """What a command without a shell's characters ends with; those of squeezekit run in this process."""
    assert not set(command) & set("|&;<>()$`*?~#'\"\\")
    program, *arguments = shlex.split(command)
    if program == "squeezekit":
        return main(arguments)
    assert program == "python"
    return subprocess.run([sys.executable, *arguments], check=False).returncode


@pytest.mark.slow
def test_the_transcript_is_what_happens(tmp_path, monkeypatch, capfd):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQUEEZEKIT_PASSPHRASE", "of a test")
    monkeypatch.setenv("COLUMNS", "200")
    found = list(commands((ROOT / "docs" / "guides" / "update.md").read_text()))
    assert len(found) >= 12
    for command, answer in found:
        code = done(command)
        printed = capfd.readouterr()
        lines = [without_numbers(line.rstrip()) for line in (printed.out + printed.err).splitlines()]
        for line in answer:
            assert without_numbers(line.rstrip()) in lines, (command, line, lines)
        refused = any(line.startswith("squeezekit: ") for line in answer)
        assert (code != 0) == refused, (command, printed.err)
