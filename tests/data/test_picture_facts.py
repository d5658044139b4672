"""Size, brightness, border, sharpness of a file."""

import hashlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from squeezekit.data.picture_facts import facts_of_files


@pytest.fixture
def facts(tmp_path):
    def facts(*images):
        files = []
        for number, image in enumerate(images):
            path = tmp_path / f"{number}.png"
            path.write_bytes(image) if isinstance(image, bytes) else image.save(path)
            files.append((str(path), hashlib.sha256(path.read_bytes()).digest()))
        return facts_of_files(files)

    return facts


def photo(side=200):
    random = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    return Image.fromarray(random).resize((side, side), Image.Resampling.NEAREST)


def test_what_is_measured(facts):
    framed = Image.new("RGB", (300, 300), "white")
    framed.paste(Image.new("RGB", (240, 240), "black"), (30, 30))
    (found,) = facts(framed)
    assert (found.width, found.height, found.border_brightness) == (300, 300, 255)
    assert 0 < found.brightness < 255 and found.contrast > 50 and found.border_contrast == 0
    assert not found.blank and not found.blurred


def test_blank_blurred_and_broken(facts):
    noisy = np.random.default_rng(0).integers(120, 127, (150, 150, 3), np.uint8)
    blurred = photo().filter(ImageFilter.GaussianBlur(12))
    sharp, blank, dull, soft, small, broken = facts(
        photo(), Image.new("RGB", (200, 200), "teal"), Image.fromarray(noisy), blurred, blurred.resize((60, 60)), b"none"
    )
    assert [each.blank for each in (sharp, blank, dull, soft)] == [False, True, True, False]
    assert [each.blurred for each in (sharp, blank, dull, soft, small)] == [False, False, False, True, False]
    assert broken == "not a JPEG, PNG, BMP or WebP file"
