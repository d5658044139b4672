"""What counts as a near-copy, and what does not."""

import hashlib
import io
import time

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from squeezekit.data import near_copies as rule
from squeezekit.data.near_copies import near_copies, near_copies_of_files, thumbnail


def scene(seed, size=(240, 180)):
    """A drawing with a few dozen shapes on a gradient: no two seeds look alike."""
    random = np.random.default_rng(seed)
    width, height = size
    rows = np.linspace(0, 1, height)[:, None, None] * random.integers(0, 256, 3)
    image = Image.fromarray(np.broadcast_to(rows, (height, width, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = random.integers(0, width), random.integers(0, height)
        reach = random.integers(5, 50)
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((x, y, x + reach, y + reach), fill=tuple(random.integers(0, 256, 3).tolist()))
    return image


def encoded(image, quality=90):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def changed(image):
    width, height = image.size
    return {
        "resized": encoded(image.resize((width // 2, height // 2))),
        "recompressed": encoded(image, 25),
        "brighter": encoded(ImageEnhance.Brightness(image).enhance(1.2)),
        "contrast": encoded(ImageEnhance.Contrast(image).enhance(1.3)),
        "cropped": encoded(image.crop((width // 40, height // 40, width - width // 40, height - height // 40))),
        "png": encoded(image, 95),
    }


@pytest.mark.parametrize("seed", range(4))
def test_what_is_done_to_a_picture_leaves_it_a_near_copy(seed):
    image = scene(seed)
    versions = changed(image)
    thumbnails = np.stack([thumbnail(content) for content in (encoded(image), *versions.values())])
    assert near_copies(thumbnails).tolist() == [0] * 7, dict(zip(versions, near_copies(thumbnails)[1:], strict=True))


def test_other_pictures_are_none():
    thumbnails = np.stack([thumbnail(encoded(scene(seed))) for seed in range(150)])
    assert near_copies(thumbnails).tolist() == list(range(150))


def test_small_pictures_blank_ones_and_files_that_are_none_are_not_compared():
    assert thumbnail(encoded(scene(0, (200, 63)))) is None
    assert thumbnail(encoded(scene(0, (64, 64)))) is not None
    assert thumbnail(b"no picture") is None
    assert thumbnail(encoded(scene(0)), max_pixels=1000) is None
    blank = np.full((3, 32, 32), 7, np.uint8)
    assert near_copies(blank).tolist() == [0, 1, 2]
    assert near_copies(blank[:0]).tolist() == []


def test_files_are_grouped_by_content_and_looked_at_once(tmp_path, monkeypatch):
    image, other = scene(1), scene(2)
    contents = [encoded(image), encoded(other), changed(image)["resized"], encoded(image), b"broken"]
    files = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(content)
        files.append((str(path), hashlib.sha256(content).digest()))
    least = min(files[0][1], files[2][1])
    found = near_copies_of_files(files)
    assert found == {files[0][1]: least, files[2][1]: least}
    monkeypatch.setattr(rule, "thumbnail", lambda *_: pytest.fail("a picture was read again"))
    assert near_copies_of_files(files[::-1]) == found


def test_thousands_take_seconds():
    random = np.random.default_rng(0)
    thumbnails = random.integers(0, 256, (6000, 32, 32), dtype=np.uint8)
    thumbnails[1::2] = np.clip(thumbnails[::2].astype(np.int64) + random.integers(-9, 10, (3000, 32, 32)), 0, 255)
    begin = time.process_time()
    first = near_copies(thumbnails)
    assert time.process_time() - begin < 10
    assert (first[1::2] == np.arange(0, 6000, 2)).all()
