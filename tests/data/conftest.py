"""A cache for each test, and small folders of pictures."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch, tmp_path):
    """Nothing that another test decoded is found here."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SQUEEZEKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def write_pictures():
    """A function that fills a folder with random pictures and returns their paths."""
    randomness = np.random.default_rng(0)

    def write(folder, count, *, size=(20, 16), suffix=".png"):
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{number:04}{suffix}" for number in range(count)]
        for path in paths:
            Image.fromarray(randomness.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        return paths

    return write


@pytest.fixture
def pets(tmp_path, write_pictures):
    """A folder with two classes of 40 pictures, without a test part."""
    root = tmp_path / "pets"
    for name in ("cats", "dogs"):
        write_pictures(root / name, 40)
    return root
