"""What a compression keeps while it runs: one command's, written whole or not at all, read with suspicion."""

import errno
import importlib

import pytest
import torch

from squeezekit import SqueezekitError
from squeezekit.compression.compress import compress
from squeezekit.compression.job_state import JobState, held_output
from squeezekit.system.atomic_io import NotWritten
from squeezekit.system.folder_claim import InUse

module = importlib.import_module("squeezekit.compression.compress")


def test_the_second_command_is_told_who_has_the_file(tiny_run, tmp_path):
    with held_output(tmp_path / "x.sqz"), pytest.raises(InUse, match=r"x\.sqz: is in use by process"):
        compress(tiny_run.folder, tmp_path / "x.sqz", minutes=0)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_ends_with_the_way_on(tiny_run, tmp_path, monkeypatch):
    def full(_state, _file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(NotWritten, match=r"x\.sqz\.work: cannot be written .*; put that right, then go on with the same command"):
        compress(tiny_run.folder, tmp_path / "x.sqz", minutes=0, max_drop=100)
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name or "in-use" in path.name]
    monkeypatch.undo()
    monkeypatch.setattr(module, "run_method", lambda *_: None)
    with pytest.raises(SqueezekitError, match="nothing has been tried"):
        compress(tiny_run.folder, tmp_path / "x.sqz", minutes=0, max_drop=100, resume=True)


@pytest.mark.parametrize("content", [[1], {"name": 5, "state": {}, "seconds": 1.0}, {"name": "a"}, b"half"])
def test_a_damaged_job_is_named(tmp_path, content):
    JobState.open(tmp_path / "x.sqz", {"a": 1}, resume=False)
    place = tmp_path / "x.sqz.work" / "last.pt"
    if isinstance(content, bytes):
        place.write_bytes(content)
    else:
        torch.save(content, place)
    with pytest.raises(SqueezekitError, match=r"last\.pt: damaged \(.*\); delete .*x\.sqz\.work to start anew"):
        JobState.open(tmp_path / "x.sqz", {"a": 1}, resume=True)
    (tmp_path / "x.sqz.work" / "settings.json").write_text("{")
    with pytest.raises(SqueezekitError, match=r"settings\.json: not valid JSON"):
        JobState.open(tmp_path / "x.sqz", {"a": 1}, resume=True)
