"""What `make` keeps of what it has done."""

import pytest

from squeezekit.system.errors import SqueezekitError
from squeezekit.workflows.make_job import Accuracy, MakeJob, MakeSettings


def settings(**changes):
    given = {
        "data": "/photos",
        "max_bytes": 150_000,
        "minutes": 20,
        "platform": "browser",
        "labels": "",
        "group_by": "",
        "leave_out": "",
    }
    return MakeSettings(**{**given, **changes})


def test_another_process_finds_what_was_kept(tmp_path):
    job = MakeJob(tmp_path, settings())
    assert job.seconds == {} and job.accuracy is job.compression_minutes is None and 0 <= job.elapsed() < 5
    job.done("check", findings=("one", "two"))
    job.done("train", seconds=600.0)
    job.keep(compression_minutes=4.5)
    job.done("report", accuracy=Accuracy(share=0.9, low=0.8, high=0.95, images=50))
    again = MakeJob(tmp_path, settings())
    assert list(again.seconds) == ["check", "train", "report"] and again.seconds["train"] == 600 < again.elapsed() < 610
    assert again.findings == ("one", "two") and again.compression_minutes == 4.5
    assert again.accuracy.images == 50


def test_other_settings_are_refused_and_so_is_a_folder_of_something_else(tmp_path):
    MakeJob(tmp_path, settings()).done("check")
    with pytest.raises(SqueezekitError, match="was begun with minutes = 20.0; give the same command"):
        MakeJob(tmp_path, settings(minutes=30))
    (tmp_path / "make.json").write_text('{"settings": 3}')
    with pytest.raises(SqueezekitError, match=r"make\.json: damaged"):
        MakeJob(tmp_path, settings())
    (tmp_path / "make.json").rename(tmp_path / "thesis.json")
    with pytest.raises(SqueezekitError, match="was not made by make"):
        MakeJob(tmp_path, settings())
