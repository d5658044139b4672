"""The list that is written, and what is shown."""

from squeezekit.data.findings import CopyGroup, DoubtfulLabel, Findings, FoundPicture


def picture(path, part=""):
    return FoundPicture(path, path.split("/")[0], part)


def findings(**given):
    nothing = {"broken": (), "copies": (), "blank": (), "blurred": (), "doubtful": (), "shortcuts": (), "accuracy": None}
    fixed = {"data": "pets", "pictures": 9, "classes": {}, "sides": (1, 2, 3), "model": "m", "seconds": 1.0}
    return Findings(**fixed, **{**nothing, **given})


def group(*pictures, near=False):
    labels, parts = ({getattr(each, name) for each in pictures} for name in ("label", "part"))
    return CopyGroup(pictures, near, len(labels) > 1, len(parts) > 1)


def test_the_list_keeps_one_of_each_and_drops_what_nobody_can_decide():
    copies = (
        group(picture("a/1"), picture("a/2"), picture("a/3")),
        group(picture("a/4"), picture("b/4")),
        group(picture("a/5", "train"), picture("a/6", "test"), near=True),
        group(picture("a/7"), picture("a/8"), near=True),
    )
    found = findings(
        copies=copies,
        blank=(picture("a/9"),),
        broken=(("b/x y.jpg", "cut short"), ("b/\n.jpg", "empty")),
        doubtful=(DoubtfulLabel(picture("a/2"), "b", 0.9, 0.1), DoubtfulLabel(picture("b/1"), "a", 0.9, 0.1)),
    )
    assert found.lines() == [
        "# cannot be read", "b/x y.jpg", '"b/\\n.jpg"', "# blank", "a/9", "# copies in several classes", "a/4", "b/4",
        "# copies of other pictures", "a/2", "a/3", "# near-copies of pictures in another part", "a/5",
        "# doubtful labels", "b/1",
    ]  # fmt: skip


def test_it_is_shown_in_a_line_and_as_rows():
    found = findings(copies=(group(picture("a/1"), picture("a/2")),), blurred=(picture("b/3"),))
    assert repr(found).startswith("Findings(data=pets, pictures=9, copies=1, near_copies=0")
    assert [row["what"] for row in found._records()] == ["blurred", "copy", "copy"]
    assert found.as_json()["copies"][0]["pictures"][0] == {"path": "a/1", "label": "a", "part": ""}
