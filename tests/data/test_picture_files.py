"""Which files below a folder are pictures, and what is said about the others."""

import os

import pytest

from squeezekit.data import picture_files
from squeezekit.data.picture_files import lines_about, list_pictures, passed_over


@pytest.fixture
def folder(tmp_path):
    """An empty folder beside nothing else."""
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def names(folder, listed):
    return [os.path.relpath(found.path, folder) for found in listed]


def test_pictures_of_every_suffix_of_a_format_that_is_read(folder):
    write(folder, "a.JPG", "b.jpeg", "c.jpe", "d.JFIF", "e.png", "f.apng", "g.bmp", "h.webp", "below/deeper/i.png", "notes.txt")
    found = list_pictures(folder)
    assert names(folder, found.files) == [
        *("a.JPG", "b.jpeg", "below/deeper/i.png", "c.jpe", "d.JFIF", "e.png", "f.apng", "g.bmp", "h.webp"),
    ]
    assert found.left_out == []
    status = (folder / "a.JPG").stat()
    assert found.files[0][1:] == (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def test_hidden_and_system_files_and_folders_are_passed_over(folder):
    write(folder, "a.png", "._a.png", ".ipynb_checkpoints/a.png", "__MACOSX/cat/a.png", "@eaDir/a.png/THUMB.jpg", "Thumbs.db")
    write(folder, "$RECYCLE.BIN/a.png", "System Volume Information/a.png", "lost+found/a.png", ".heic", "desktop.ini")
    found = list_pictures(folder)
    assert names(folder, found.files) == ["a.png"]
    assert found.left_out == []


def test_the_folder_itself_may_be_hidden(tmp_path):
    write(tmp_path, ".photos/a.png")
    assert names(tmp_path, list_pictures(tmp_path / ".photos").files) == [".photos/a.png"]
    assert passed_over(".photos")


def test_pictures_of_other_formats_are_named_in_one_line_for_each(folder):
    write(folder, *(f"{number}.tif" for number in range(5)), "x.heic")
    assert lines_about(list_pictures(folder).left_out) == [
        f"5 are left out (.tif is none of the formats that are read, JPEG, PNG, BMP and WebP): {folder}/0.tif, {folder}/1.tif, "
        f"{folder}/2.tif, …",
        f"{folder}/x.heic is left out (.heic is none of the formats that are read, JPEG, PNG, BMP and WebP)",
    ]


def test_links_to_nothing_are_named(folder):
    for name in ("a.png", "b.gif", "c", "d.txt"):
        (folder / name).symlink_to("nowhere")
    (folder / "round.png").symlink_to("round.png")
    found = list_pictures(folder)
    assert found.files == []
    assert [(os.path.basename(path), reason) for path, reason in found.left_out] == [  # noqa: PTH119
        *((name, "a link to nothing") for name in ("a.png", "b.gif", "c")),
        ("round.png", "Too many levels of symbolic links"),
    ]


def test_links_are_followed_and_loops_end(tmp_path, folder):
    write(folder, "a.png", "below/b.png")
    write(tmp_path, "elsewhere/c.png")
    (folder / "a-link").symlink_to(folder / "below")
    (folder / "c").symlink_to(tmp_path / "elsewhere")
    (folder / "below" / "up").symlink_to(folder)
    (folder / "d.png").symlink_to(folder / "a.png")
    found = list_pictures(folder)
    assert names(folder, found.files) == ["a.png", "below/b.png", "c/c.png", "d.png"]
    assert found.files[3][1:] == found.files[0][1:]
    assert found.left_out == []


def test_a_pipe_is_no_picture(folder):
    os.mkfifo(folder / "a.png")
    assert lines_about(list_pictures(folder).left_out) == [f"{folder}/a.png is left out (neither a file nor a folder)"]


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    write(folder, "closed/a.png", "open/a.png")

    def scandir(path):
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return os_scandir(path)

    os_scandir = os.scandir
    monkeypatch.setattr(picture_files.os, "scandir", scandir)
    found = list_pictures(folder)
    assert names(folder, found.files) == ["open/a.png"]
    assert found.left_out == [(str(folder / "closed"), "the folder cannot be listed: Permission denied")]


def test_a_folder_that_is_not_there(folder):
    assert list_pictures(folder / "no").left_out == [(f"{folder}/no", "the folder cannot be listed: No such file or directory")]


def test_folders_deeper_than_a_program_can_recurse(folder):
    path, made = str(folder), []
    for _ in range(1500):
        path += "/d"
        os.mkdir(path)  # noqa: PTH102
        made.append(path)
    with open(f"{path}/a.png", "wb"):  # noqa: PTH123
        pass
    assert [found.path for found in list_pictures(folder).files] == [f"{path}/a.png"]
    # What removes the folders of tests recurses.
    os.remove(f"{path}/a.png")  # noqa: PTH107
    for path in reversed(made):
        os.rmdir(path)  # noqa: PTH106


def test_a_name_that_is_not_utf8(folder):
    (folder / os.fsdecode(b"t\xe9te.png")).write_bytes(b"")
    assert names(folder, list_pictures(folder).files) == ["t\udce9te.png"]
