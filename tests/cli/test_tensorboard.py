"""`tensorboard`: what it becomes."""

import os

import pytest

from squeezekit.cli import main


def test_it_becomes_the_installed_tensorboard_on_this_machine_alone(tmp_path, monkeypatch):
    (tmp_path / "-run of $x").mkdir()
    (tmp_path / "tensorboard.py").write_text("raise SystemExit('foreign code')")
    monkeypatch.chdir(tmp_path)
    ran = []

    def becomes(program, arguments):
        ran.append(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", becomes)
    with pytest.raises(SystemExit):
        main(["tensorboard", "--port", "7007", "--", "-run of $x"])
    ((_, *options),) = ran
    # -P: nothing of the current folder is imported.
    assert options == ["-P", "-m", "tensorboard.main", f"--logdir={tmp_path}/-run of $x", "--port=7007", "--host=127.0.0.1"]


def test_what_is_no_folder_is_one_sentence(tmp_path, capsys):
    assert main(["tensorboard", str(tmp_path / "\x1b[31m")]) == 2
    assert "\\x1b[31m: not a folder" in capsys.readouterr().err
