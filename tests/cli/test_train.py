"""What the command `train` prints, and what becomes of it where something beside the training fails."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from squeezekit.cli import main
from squeezekit.cli import train as command
from squeezekit.training.run_folder import Run


@pytest.mark.parametrize(("counts", "balanced"), [([30, 10], True), ([10, 10], False), ([10, 14], False), (None, False)])
def test_balanced_accuracy_where_classes_are_uneven(tiny_run, capsys, counts, balanced):
    summary = {**tiny_run.summary, "class_images": counts}
    command._show(summary, tiny_run.folder)
    shown = capsys.readouterr().out.splitlines()
    assert ["balanced accuracy" in line for line in shown[:2]] == [balanced] * 2
    assert " of 40 images  " in shown[0] and " of 269 images  " in shown[1]


def test_the_result_is_printed_whatever_becomes_of_the_curves(tiny_run, tmp_path, capsys):
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    (folder / "curves.png").mkdir()
    assert main(["train", "--resume", "-o", str(folder)]) == 0
    shown = capsys.readouterr()
    assert "accuracy" in shown.out and "no curves (" in shown.err and "next: squeezekit evaluate" in shown.err
    assert main(["train", "--resume", "-o", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == Run(folder).summary


@pytest.mark.parametrize("name", ["plain", "with space", "-x", "~me", "a$b;c", "quote'"])
def test_the_command_that_goes_on_can_be_pasted(tiny_run, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run.folder, tmp_path / name)
    words = shlex.split(Run(Path(name)).resume_command)
    assert words[0] == "squeezekit" and main(words[1:]) == 0
    assert "validation" in capsys.readouterr().out
