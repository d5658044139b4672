"""A folder is held by one process at a time, and free again when that ends."""

import errno
import os
import sys
import time
from pathlib import Path

import pytest

from squeezekit import SqueezekitError
from squeezekit.system import folder_claim
from squeezekit.system.folder_claim import LOCK, InUse, claimed, claimed_by_date, held, holds_files
from tests.fixtures.forked import Forked, waits


def test_the_second_is_told_who_has_the_folder(tmp_path):
    folder = tmp_path / "a" / "b"
    with claimed(folder):
        assert not holds_files(folder)
        with pytest.raises(InUse, match=rf"b: is in use by process {os.getpid()} on ") as error, claimed(folder):
            pytest.fail("twice")
        assert error.value.exit_code == 2
        (folder / "result").touch()
        assert holds_files(folder)
    assert [path.name for path in folder.iterdir()] == ["result"]
    with claimed(folder):
        assert holds_files(folder)


def test_what_was_made_and_stayed_empty_goes_away(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(SqueezekitError), claimed(tmp_path / "mine" / "a" / "b"):
        raise SqueezekitError
    with claimed(tmp_path / "mine"):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, whose folders take no files")
def test_a_folder_that_takes_no_files_is_no_endless_loop():
    with pytest.raises(SqueezekitError, match="^x: cannot be made or written"), held(Path("/proc/x.in-use"), Path("x")):
        pytest.fail("made")


def hold(folder, place):
    with claimed(Path(folder)):
        waits(Path(place))


def test_a_folder_is_free_when_its_holder_is_killed(tmp_path):
    folder = tmp_path / "run"
    with Forked(tmp_path, hold, str(folder), str(tmp_path)) as process:
        process.wait_for(tmp_path / "waits")
        with pytest.raises(InUse, match=f"process {process.pid} on"), claimed(folder):
            pytest.fail("twice")
    assert (folder / LOCK).exists()
    with claimed(folder):
        pass
    assert not (folder / LOCK).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="locks of another kind")
def test_on_a_drive_without_locks_a_file_that_is_there_says_so(tmp_path, monkeypatch):
    def none(*_arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_claim.fcntl, "flock", none)
    with (
        claimed(tmp_path / "run"),
        pytest.raises(InUse, match=r"if that has ended, delete .*\.in-use"),
        claimed(tmp_path / "run"),
    ):
        pytest.fail("twice")
    with claimed(tmp_path / "run"):
        pass


def test_a_name_that_is_taken_in_the_same_second_gets_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda _form: "now")
    with claimed_by_date(tmp_path) as first, claimed_by_date(tmp_path) as second:
        (first / "result").touch()
        with claimed_by_date(tmp_path) as third:
            assert [folder.name for folder in (first, second, third)] == ["now", "now-2", "now-3"]


def test_a_lock_of_another_holder_is_left_alone(tmp_path):
    with held(tmp_path / "run" / LOCK, tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "aside")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / LOCK).touch()
    assert (tmp_path / "run" / LOCK).exists()


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(SqueezekitError, match="choose another --out"), claimed(place):
            pytest.fail("claimed")
    with pytest.raises(SqueezekitError, match="not UTF-8"), claimed(tmp_path / os.fsdecode(b"caf\xe9")):
        pytest.fail("claimed")
