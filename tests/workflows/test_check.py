"""What `check` finds in a folder with planted faults, and that it changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import squeezekit as sk
from squeezekit.cli import main
from squeezekit.data.curation import read_list
from squeezekit.system.errors import SqueezekitError

NANO_OF_0_1 = Path(__file__).parents[1] / "modelfile" / "golden" / "cifar10-nano-0.1.sqz"


def photo(label, number):
    """Smooth noise, reddish or bluish."""
    small = np.random.default_rng(1000 * label + number).integers(0, 256, (9, 12, 3), np.uint8)
    small[..., 2 * label] //= 4
    return Image.fromarray(small).resize((96, 72), Image.Resampling.BICUBIC)


@pytest.fixture
def faulty(tmp_path):
    """Two classes of 24 photos, with a wrong label, a copy, a near-copy in the other class, a blank and a broken picture."""
    for label, name in enumerate(("disks", "stripes")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(24):
            photo(label, number).save(tmp_path / "photos" / name / f"{number}.png")
    root = tmp_path / "photos"
    photo(1, 99).save(root / "disks" / "wrong.png")
    photo(0, 3).save(root / "disks" / "copy.png")
    photo(0, 4).resize((88, 66)).save(root / "stripes" / "near.jpg", quality=80)
    Image.new("RGB", (90, 90), "navy").save(root / "stripes" / "blank.png")
    (root / "stripes" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return root


def test_planted_faults_are_found_and_nothing_changes(faulty, tmp_path):
    before = {path: path.read_bytes() for path in faulty.rglob("*") if path.is_file()}
    found = sk.check(faulty, tmp_path / "check.html", write_list=tmp_path / "list.txt", model=NANO_OF_0_1)
    assert found.pictures == 52 and found.classes == {"disks": {"": 26}, "stripes": {"": 26}}
    assert [path for path, _ in found.broken] == ["stripes/broken.jpg"]
    assert [each.path for each in found.blank] == ["stripes/blank.png"]
    (copy,), (near,) = found.copies_of(near=False), found.copies_of(near=True)
    assert {each.path for each in copy.pictures} == {"disks/3.png", "disks/copy.png"} and not copy.across_classes
    assert {each.path for each in near.pictures} == {"disks/4.png", "stripes/near.jpg"} and near.across_classes
    assert found.accuracy > 0.8 and "disks/wrong.png" in [each.picture.path for each in found.doubtful]
    assert {"stripes/broken.jpg", "stripes/blank.png", "disks/wrong.png"} <= set(read_list(tmp_path / "list.txt"))
    assert {path: path.read_bytes() for path in faulty.rglob("*") if path.is_file()} == before
    assert "disks/wrong.png" in (tmp_path / "check.html").read_text()


def test_the_command_prints_what_it_found(faulty, capsys):
    assert main(["check", str(faulty), "--quick"]) == 0
    shown = capsys.readouterr().out
    assert "near-copies      1 groups of 2 pictures, 1 in several classes" in shown and "cannot be read   1" in shown
    assert main(["check", str(faulty), "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["blank"] == [{"path": "stripes/blank.png", "label": "stripes", "part": ""}]


def test_what_cannot_be_is_one_sentence(faulty, tmp_path):
    for arguments, message in (
        ([], "no pictures are named"),
        ([tmp_path / "none"], "is no folder"),
        ([faulty, faulty / "check.html"], "would lie among the pictures"),
        ([faulty, tmp_path / "no" / "check.html"], "is no place for a file"),
    ):
        with pytest.raises(SqueezekitError, match=message):
            sk.check(*arguments, quick=True)
