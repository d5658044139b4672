"""What a folder holds when a file says so, without a list, and in groups."""

import os

import pytest

from squeezekit.data.curation import Curation
from squeezekit.data.folder_layout import Part
from squeezekit.data.folder_listing import list_folder
from squeezekit.system.errors import SqueezekitError


@pytest.fixture
def labelled(tmp_path, write_pictures):
    """Eight pictures in one folder, and a function that writes a labels file and lists them."""
    write_pictures(tmp_path / "all", 8)

    def listed(rows, titles="path,label", **curation):
        (tmp_path / "l.csv").write_text("\n".join([titles, *rows]))
        return list_folder(tmp_path / "all", Curation(str(tmp_path / "l.csv"), **curation))

    return listed


def rows(extra=lambda number: ""):
    return [f"{number:04}.png,{'cat' if number < 4 else 'dog'}{extra(number)}" for number in range(8)]


def test_a_labels_file_says_which_pictures_there_are(labelled):
    listing = labelled(rows()[1:])
    assert listing.classes == ("cat", "dog") and listing.labels == [0] * 3 + [1] * 4
    assert listing.paths[0] == "0001.png" and listing.parts is None and listing.groups is None
    listing = labelled(rows(lambda number: ",test" if number % 4 == 0 else ","), "path,label,split")
    assert [at for at, part in enumerate(listing.parts) if part is Part.TEST] == [0, 4]


def test_groups_are_a_column_or_a_pattern(labelled):
    with_group = rows(lambda number: f",{number // 2 if number else ''},{number % 2}")
    listing = labelled(with_group, "path,label,group,day")
    assert listing.groups == [None, "0", "1", "1", "2", "2", "3", "3"]
    assert listing.notes == ("grouped by column 'group': 4 groups of at most 2 images, 1 without one stand alone",)
    assert labelled(with_group, "path,label,group,day", group_by="day").groups == ["0", "1"] * 4
    assert labelled(with_group, "path,label,group,day", group_by="00(0[13])").groups[:4] == [None, "01", None, "03"]


def test_missing_pictures_and_one_class_are_named(labelled):
    with pytest.raises(SqueezekitError, match=r"l.csv: 2 of 4 pictures are not in .*all, the first being 'x.png' of line 3"):
        labelled(["0000.png,cat", "x.png,cat", "0004.png/y.png,dog", "0005.png,dog"])
    with pytest.raises(SqueezekitError, match="names 1 classes, and at least 2 are needed"):
        labelled(["0000.png,cat"])


def test_a_list_leaves_pictures_out(pets, tmp_path):
    (pets / "cats" / "0001.tif").touch()
    (tmp_path / "list").write_text("# doubtful\ncats/0000.png\ncats/0001.tif\ndogs/gone.png\n")
    listing = list_folder(pets, Curation(leave_out=str(tmp_path / "list")))
    assert len(listing.paths) == len(listing.labels) == len(listing.stamps) == 79 and listing.left_out == []
    assert listing.notes == ("1 left out by list (1 more of it are not there)",)
    (tmp_path / "list").write_text("".join(f"dogs/{number:04}.png\n" for number in range(40)))
    with pytest.raises(SqueezekitError, match="leaves no picture of class 'dogs': take some off the list"):
        list_folder(pets, Curation(leave_out=str(tmp_path / "list")))


def test_a_pattern_groups_across_classes(pets):
    listing = list_folder(pets, Curation(group_by=r"(\d)\.png"))
    assert len(set(listing.groups)) == 10 and listing.notes == (r"grouped by '(\d)\.png': 10 groups of at most 8 images",)
    with pytest.raises(SqueezekitError, match=r"--group-by 'patient' matches no path, such as 'cats/0000.png': correct it"):
        list_folder(pets, Curation(group_by="patient"))


def test_a_path_in_bytes_of_no_text_is_matched(pets):
    (pets / "cats" / "0000.png").rename(os.fsdecode(os.fsencode(pets / "cats") + b"/\xff1.png"))
    assert list_folder(pets, Curation(group_by=r"(\d)\.png")).groups.count("1") == 9
