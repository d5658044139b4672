"""Folders of photos without labels."""

import numpy as np
import pytest
from PIL import Image

from squeezekit import SqueezekitError
from squeezekit.data import unlabelled
from squeezekit.data.unlabelled import load_unlabelled, unlike
from tests.fixtures.drawn_photos import cloud


@pytest.fixture
def photos(tmp_path):
    """Five pictures, one of them twice, on three levels, and what is no picture."""
    folder = tmp_path / "photos"
    (folder / "a" / "b").mkdir(parents=True)
    for seed, place in enumerate((".", "a", "a/b", "a/b", ".")):
        cloud(seed).save(folder / place / f"{seed}.png")
    cloud(0).save(folder / "a" / "again.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "page.gif").write_bytes(b"GIF89a")
    return folder


def test_every_picture_below_is_there_once_whatever_it_is_called(photos, capfd):
    images = load_unlabelled(photos, image_size=64, channels=3)
    assert images.images.shape == (5, 64, 64, 3) and set(images.labels) == {-1} and images.classes == ()
    said = capfd.readouterr().err
    assert "broken.png cannot be read as a picture" in said and "page.gif is left out" in said
    (photos / "a" / "again.png").rename(photos / "first.png")
    renamed = load_unlabelled(photos, image_size=64, channels=3)
    assert np.array_equal(renamed.images, images.images) and renamed.fingerprint == images.fingerprint
    cloud(9).save(photos / "9.png")
    assert load_unlabelled(photos, image_size=64, channels=3).fingerprint != images.fingerprint


def test_a_second_start_reads_no_picture(photos, monkeypatch, capfd):
    first = load_unlabelled(photos, image_size=64, channels=1)
    capfd.readouterr()

    def read(*_paths):
        raise AssertionError("read again")

    monkeypatch.setattr(unlabelled, "hash_files", read)
    assert np.array_equal(load_unlabelled(photos, image_size=64, channels=1).images, first.images)
    assert "broken.png cannot be read" in capfd.readouterr().err


def test_copies_and_near_copies_of_what_measures_are_found(photos):
    images = load_unlabelled(photos, image_size=64, channels=3)
    bright = [np.clip(np.array(cloud(seed, 64), np.int64) + 9, 0, 255).astype(np.uint8) for seed in (3, 7)]
    same = images.images[[2]]
    kept = unlike(images, (same, np.stack(bright)))
    assert len(kept) == 3 and 2 not in kept
    (like,) = set(range(5)) - {2} - set(kept.tolist())
    assert np.abs(images.images[like].astype(int) - np.array(cloud(3).resize((64, 64), Image.Resampling.BILINEAR))).max() < 3
    assert unlike(images, (same[:0],)).tolist() == list(range(5))


def test_small_images_are_left_out_as_copies_alone(photos):
    images = load_unlabelled(photos, image_size=16, channels=3)
    changed = images.images.copy()
    changed[1:, 0, 0] ^= 1
    assert unlike(images, (changed,)).tolist() == [1, 2, 3, 4]


def test_what_holds_no_photo_is_an_error(tmp_path):
    with pytest.raises(SqueezekitError, match="no folder of photos"):
        load_unlabelled(tmp_path / "missing", image_size=16, channels=3)
    with pytest.raises(SqueezekitError, match="holds no picture"):
        load_unlabelled(tmp_path, image_size=16, channels=3)
