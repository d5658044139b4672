"""Folders whose pictures belong together, are labelled by a file, or are left out."""

import numpy as np
import pytest
from PIL import Image

from squeezekit.data.curation import Curation
from squeezekit.data.image_folder import load_folder
from squeezekit.data.overview import overview
from squeezekit.data.splits import split_images
from squeezekit.system.errors import SqueezekitError


def photo(seed, size=96):
    """Smooth noise, which looks like nothing else."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def bursts(tmp_path):
    """Two classes of 30 photos in bursts of three: resized, recompressed, cropped a little."""
    for label, name in enumerate(("cats", "dogs")):
        folder = tmp_path / "bursts" / name
        folder.mkdir(parents=True)
        for number in range(10):
            image = photo(100 * label + number)
            image.save(folder / f"{number}.png")
            image.resize((80, 80)).save(folder / f"{number}-small.jpg", quality=60)
            image.crop((2, 2, 94, 95)).save(folder / f"{number}-cropped.jpg", quality=80)
    return tmp_path / "bursts"


def shots(images):
    """Which burst each image is of, by its mean colours."""
    return {tuple((image.mean((0, 1)) / 4).round()) for image in images}


@pytest.mark.parametrize("size", [32, 96])
def test_near_copies_are_on_one_side_of_test_and_split_and_folds(bursts, size):
    source = load_folder(bursts, image_size=size)
    training, test = source.training, source.test
    assert (len(training), len(test)) == (48, 12)
    assert len(np.unique(training.near_copies)) == 16 and len(np.unique(test.near_copies)) == 4
    assert not np.isin(training.near_copies, test.near_copies).any()
    for split in (split_images(training, seed=1), *(split_images(training, seed=0, folds=4, fold=fold) for fold in range(4))):
        assert not np.isin(training.near_copies[split.training], training.near_copies[split.validation]).any()
        assert len(split.validation) % 3 == 0
    again = load_folder(bursts, image_size=size)
    assert (again.training.near_copies == training.near_copies).all()
    assert again.test.fingerprint == test.fingerprint


def test_the_parts_are_the_same_at_every_size(bursts):
    one, other = (load_folder(bursts, image_size=size) for size in (16, 64))
    assert one.training.fingerprint == other.training.fingerprint
    assert (one.training.near_copies == other.training.near_copies).all()


def test_what_was_found_is_said_in_a_line(bursts):
    source = load_folder(bursts)
    lines = list(overview(source, split_images(source.training, seed=0)))
    assert lines[1:] == ["near-copies of other images: 32; they stay on one side with them; squeezekit check shows them"]


def test_near_copies_in_given_parts_are_counted(bursts):
    (bursts / "train").mkdir()
    (bursts / "test").mkdir()
    for name in ("cats", "dogs"):
        (bursts / "test" / name).mkdir()
        (bursts / name).rename(bursts / "train" / name)
        for number in range(2):
            file = f"{name}/{number}-small.jpg"
            (bursts / "train" / file).rename(bursts / "test" / file)
    source = load_folder(bursts)
    assert len(source.test) == 4
    (line,) = list(overview(source, split_images(source.training, seed=0)))[1:]
    assert "near-copies of images for the test among the others: 8; this flatters the test" in line


def test_groups_by_path_are_on_one_side(pets):
    source = load_folder(pets, curation=Curation(group_by=r"(\d)\.png"))
    training, test = source.training, source.test
    assert len(np.unique(training.groups)) == 8 and len(np.unique(test.groups)) == 2 and len(test) == 16
    assert not np.isin(training.groups, test.groups).any()
    split = split_images(training, seed=0)
    assert not np.isin(training.groups[split.training], training.groups[split.validation]).any()
    assert source.notes[1] == r"grouped by '(\d)\.png': 10 groups of at most 8 images"
    assert load_folder(pets).training.groups is None


def test_labels_and_lists_that_change_are_noticed(pets, tmp_path):
    labels, paths = tmp_path / "l.csv", sorted(path.relative_to(pets).as_posix() for path in pets.rglob("*.png"))

    def load(swapped, leave_out=""):
        rows = [
            f"{path},{'ab'[(path[0] == 'd') ^ (at < swapped)]},{'test' if at % 4 == 0 else ''}" for at, path in enumerate(paths)
        ]
        labels.write_text("\n".join(["path,label,split", *rows]))
        return load_folder(pets, curation=Curation(str(labels), leave_out=leave_out))

    first, second = load(0), load(3)
    assert first.training.classes == ("a", "b") and len(first.test) == 20 and "15 %" not in " ".join(first.notes)
    assert first.training.fingerprint != second.training.fingerprint
    assert (first.training.labels == load(0).training.labels).all()
    (tmp_path / "list").write_text(paths[1])
    assert len(load(0, str(tmp_path / "list")).training) == 59


def test_all_of_a_class_in_one_group_is_named(pets):
    with pytest.raises(SqueezekitError, match=r"class 'cats' .* has no readable picture for its training part"):
        load_folder(pets, curation=Curation(group_by="cats|000"))
