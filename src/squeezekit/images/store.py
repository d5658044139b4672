"""The decoded store: images are decoded once and memory-mapped ever after.

Two folders under the cache: `listings/` maps what a folder looks like (paths, sizes, times) to the content it
held, so that a second start reads no picture; `decoded/` holds the pixels by the fingerprint of that content.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs
from numpy.typing import NDArray

from squeezekit import durable
from squeezekit.errors import SqueezekitError


def cache_folder() -> Path:
    """Where decoded images and downloads are kept; SQUEEZEKIT_CACHE overrides the system's own place."""
    folder = Path(os.environ.get("SQUEEZEKIT_CACHE") or platformdirs.user_cache_dir("squeezekit"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SqueezekitError(
            f"{folder}: the cache folder cannot be made ({error.strerror}); set SQUEEZEKIT_CACHE to one that can"
        ) from None
    return folder


def load_listing(key: str) -> dict[str, Any] | None:
    """What is known of the folder with that listing, or None."""
    try:
        listing = json.loads((cache_folder() / "listings" / f"{key}.json").read_text())
    except (OSError, ValueError):
        return None
    return listing if isinstance(listing, dict) else None


def save_listing(key: str, listing: dict[str, Any]) -> None:
    """Keep what is known of a folder."""
    path = cache_folder() / "listings" / f"{key}.json"
    path.parent.mkdir(exist_ok=True)
    durable.write_text(path, json.dumps(listing))


def load_pixels(key: str, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The decoded images of that key as a read-only memory map, or None when absent, damaged or of another shape."""
    try:
        pixels = np.load(cache_folder() / "decoded" / f"{key}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return pixels if pixels.shape == shape and pixels.dtype == np.uint8 else None


class PixelsAside:
    """A decoded image set while it is written, chunk by chunk, so that it need never fit into memory."""

    def __init__(self, folder: Path, file: BinaryIO) -> None:
        self._folder, self._file, self._count = folder, file, 0
        file.write(bytes(_HEADER_BYTES))

    def append(self, chunk: NDArray[np.uint8]) -> None:
        """Add images [n, h, w, c]."""
        self._file.write(np.ascontiguousarray(chunk).data)
        self._count += len(chunk)

    def keep_as(self, key: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Give the set its key, now that it is known, and map it; `shape` is that of one image."""
        self._file.seek(0)
        self._file.write(_npy_header((self._count, *shape)))
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._file.name, self._folder / f"{key}.npy")
        pixels = load_pixels(key, (self._count, *shape))
        if pixels is None:
            raise SqueezekitError(f"{self._folder}: what was written cannot be read back; set SQUEEZEKIT_CACHE")
        return pixels


@contextmanager
def pixels_aside() -> Iterator[PixelsAside]:
    """A place to write decoded images before their key is known; removed again when they were not kept."""
    folder = cache_folder() / "decoded"
    folder.mkdir(exist_ok=True)
    # A name of its own, so that two processes may decode the same folder at once.
    descriptor, name = tempfile.mkstemp(suffix=".partial", dir=folder)
    try:
        with open(name, "r+b") as file:  # noqa: PTH123
            yield PixelsAside(folder, file)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


_HEADER_BYTES = 128


def _npy_header(shape: tuple[int, ...]) -> bytes:
    # The fixed length lets it be written last, when the number of readable images is known (NPY format 1.0).
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little") + text.ljust(_HEADER_BYTES - 11).encode() + b"\n"
