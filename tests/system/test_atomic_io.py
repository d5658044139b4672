"""Files are written all or nothing."""

import errno

import pytest

from squeezekit.system import atomic_io
from squeezekit.system.atomic_io import NotWritten


def test_a_failure_leaves_what_was_there(tmp_path):
    place = tmp_path / "file"
    atomic_io.write_text(place, "old")
    with pytest.raises(RuntimeError), atomic_io.replacing(place) as file:
        file.write(b"new")
        raise RuntimeError
    assert place.read_text() == "old" and list(tmp_path.iterdir()) == [place]
    atomic_io.write_text(place, "new")
    assert place.read_text() == "new" and list(tmp_path.iterdir()) == [place]


def test_a_folder_takes_the_place_of_another_whole(tmp_path):
    place = tmp_path / "folder"
    atomic_io.write_folder(place, {"a": "1", "b": "2"})
    atomic_io.write_folder(place, {"c": "3"})
    assert [path.name for path in place.iterdir()] == ["c"] and list(tmp_path.iterdir()) == [place]


def test_what_cannot_be_written_ends_with_the_way_on(tmp_path):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NotWritten) as error, atomic_io.kept(tmp_path, "give it again"):
        full()
    assert str(error.value) == f"{tmp_path}: cannot be written (No space left on device); put that right, then give it again"
    assert error.value.exit_code == 1

    def as_torch():
        try:
            full()
        finally:
            raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(NotWritten, match="No space left"), atomic_io.kept(tmp_path, "give it again"):
        as_torch()
    with pytest.raises(RuntimeError, match="a bug"), atomic_io.kept(tmp_path, "give it again"):
        raise RuntimeError("a bug")
