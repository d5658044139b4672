"""Files are written all or nothing."""

import pytest

from squeezekit.system import atomic_io


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
