"""A block of image files to pixels, in this thread."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.image_file import UnreadableImageError, read_image
from squeezekit.system.errors import SqueezekitError

File = tuple[str, bytes]
Decoded = tuple[NDArray[np.uint8], list[str | None]]


def decode_block(files: Sequence[File], image_size: int, channels: int) -> Decoded:
    """Decode files, given as (path, SHA-256 as 32 bytes).

    Returns the pixels of those that can be decoded, uint8 [m <= n, image_size, image_size, channels], and for each of the n
    files None or the reason why not. Raises SqueezekitError when a file is not the one that was hashed.
    """
    pixels = np.empty((len(files), image_size, image_size, channels), np.uint8)
    reasons: list[str | None] = []
    for row, (path, content_hash) in enumerate(files):
        try:
            pixels[row] = read_image(BytesIO(_same_content(path, content_hash)), image_size, channels)
            reasons.append(None)
        except UnreadableImageError as error:
            reasons.append(error.reason)
    return pixels[[reason is None for reason in reasons]], reasons


def hash_block(paths: Sequence[str]) -> list[bytes | str]:
    """The SHA-256 of each file's content as 32 bytes, or the reason (text) why it could not be read."""
    return [_hash(path) for path in paths]


def _hash(path: str) -> bytes | str:
    try:
        return hashlib.sha256(_content(path)).digest()
    except OSError as error:
        return error.strerror or str(error)


def _same_content(path: str, content_hash: bytes) -> bytes:
    try:
        content = _content(path)
    except OSError:
        content = b""
    if hashlib.sha256(content).digest() != content_hash:
        raise SqueezekitError(f"{path} was changed while the pictures were read: run the same command again")
    return content


def _content(path: str) -> bytes:
    # Twice as fast as Path.read_bytes for small files, of which there are many.
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.readall()
