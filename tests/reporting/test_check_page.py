"""The page of `check`: escaped, bounded, with thumbnails."""

import re

from PIL import Image

from squeezekit.data.findings import CopyGroup, DoubtfulLabel, Findings, FoundPicture, Shortcut
from squeezekit.reporting.check_page import MOST_ROWS, write_check_page

HOSTILE = "<script>alert(1)</script>\u202e"


def page(tmp_path, **given):
    nothing = {"broken": (), "copies": (), "blank": (), "blurred": (), "doubtful": (), "shortcuts": (), "accuracy": 0.9}
    fixed = {"data": f"/home/me/{HOSTILE[:8]}", "pictures": 9, "classes": {HOSTILE: {"": 9}}, "sides": (64, 100, 200)}
    findings = Findings(**fixed, **{**nothing, **given}, model="m", seconds=1.0, notes=(HOSTILE,))
    write_check_page(findings, tmp_path, tmp_path / "check.html")
    return (tmp_path / "check.html").read_text(encoding="utf-8")


def test_names_are_escaped_and_no_path_of_this_machine_is_published(tmp_path):
    picture = FoundPicture(f"{HOSTILE}.jpg", HOSTILE, "")
    text = page(
        tmp_path,
        broken=((HOSTILE, HOSTILE),),
        copies=(CopyGroup((picture, picture), False, True, True),),
        doubtful=(DoubtfulLabel(picture, HOSTILE, 0.9, 0.1),),
        shortcuts=(Shortcut("the border", 0.9, 0.95, 0.5),),
    )
    assert "<script" not in text and "&lt;script&gt;" in text and "\u202e" not in text and "/home/me" not in text
    assert "in several classes and in several parts" in text and "told apart by the border alone in 90% of cases" in text


def test_pictures_are_shown_and_rows_are_bounded(tmp_path):
    Image.new("RGB", (50, 70), "red").save(tmp_path / "red.png")
    many = tuple(FoundPicture("red.png", "a", "") for _ in range(MOST_ROWS + 5))
    text = page(tmp_path, blank=many)
    assert len(re.findall('<img src="data:image/jpeg;base64,', text)) == MOST_ROWS
    assert f"Blank ({MOST_ROWS + 5})" in text and f"The first {MOST_ROWS} are shown" in text
    assert "Copies (" not in text
