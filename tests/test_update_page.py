"""The transcript in docs/tutorials/devices.md: every command as it stands, with the answers that stand there, numbers aside."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from squeezekit.cli import main
from squeezekit.pretrained.files import model_path
from tests.fixtures.changed_files import changed
from tests.fixtures.commands import run_script

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


def whole(command):
    """The exit code of a command; what it prints goes where this process prints."""
    return subprocess.run(["bash", "-c", command], check=False, stdin=subprocess.DEVNULL).returncode


def short(command):
    """The same in this process, but for the minute in which the next version is trained and compressed: one is made otherwise."""
    program, *arguments = shlex.split(command)
    if arguments[0] == "compress":
        Path(arguments[-1]).write_bytes(changed(model_path("digits-nano").read_bytes(), 0.001))
    elif program == "squeezekit" and arguments[0] != "train":
        return main(arguments)
    elif program == "python":
        run_script(*arguments)
    return 0


@pytest.mark.parametrize("run", [pytest.param(short, marks=pytest.mark.slow), pytest.param(whole, marks=pytest.mark.long)])
def test_the_transcript_is_what_happens(run, tmp_path, monkeypatch, capfd):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SQUEEZEKIT_PASSPHRASE", "of a test")
    monkeypatch.setenv("COLUMNS", "200")
    found = list(commands((ROOT / "docs" / "tutorials" / "devices.md").read_text()))
    assert len(found) >= 12
    for command, answer in found:
        code = run(command)
        printed = capfd.readouterr()
        lines = [without_numbers(line.rstrip()) for line in (printed.out + printed.err).splitlines()]
        for line in answer:
            assert without_numbers(line.rstrip()) in lines, (command, line, lines)
        refused = any(line.startswith("squeezekit: ") for line in answer)
        assert (code != 0) == refused, (command, printed.err)
