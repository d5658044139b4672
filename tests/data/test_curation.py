"""Lists of pictures, and regular expressions for their paths."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezekit.data.curation import Curation, folder_of_labels, list_line, matched, pattern, read_list
from squeezekit.system.errors import SqueezekitError


@given(st.lists(st.text(st.characters(codec=None), min_size=1)))
def test_a_list_is_read_as_it_was_written(tmp_path_factory, paths):
    file = tmp_path_factory.mktemp("list") / "list.txt"
    file.write_text("# what a person reads\n\n" + "".join(f"{list_line(path)}\n" for path in paths), encoding="utf-8")
    assert read_list(file) == paths


def test_a_list_of_another_system_is_read(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a/1.jpg\r\nb/2.jpg\r\n")
    assert read_list(tmp_path / "list.txt") == ["a/1.jpg", "b/2.jpg"]
    (tmp_path / "list.txt").write_text('"a/1.jpg\n')
    with pytest.raises(SqueezekitError, match=r"list.txt, line 1: begins with a quote and is no JSON string"):
        read_list(tmp_path / "list.txt")


def test_the_first_group_or_the_whole_match_names_a_group():
    paths = ["cat/p12_3.jpg", "dog/p12_4.jpg", "dog/x.jpg"]
    assert matched(pattern(r"p(\d+)_"), paths) == ["12", "12", None]
    assert matched(pattern(r"p\d+"), paths) == ["p12", "p12", None]
    assert matched(pattern(r"p(\d+)_|x"), paths) == ["12", "12", None]


@pytest.mark.parametrize("wrong", ["(", "[a", "(?P<1>a)", "a{2,1}", "*"])
def test_what_is_no_regular_expression_is_one_sentence(wrong):
    with pytest.raises(SqueezekitError, match=r"^--group-by '.*' is no regular expression \(.*\); correct it$"):
        pattern(wrong)


def test_paths_are_settled():
    assert not Curation() and Curation(group_by="a")
    settled = Curation("l.csv", "a", "").settled()
    assert settled == Curation(str(Path("l.csv").absolute()), "a", "")
    assert folder_of_labels("photos/l.csv") == "photos"
