"""A block of image files to pixels, in this thread."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.image_file import (
    MOST_PIXELS,
    ReadingFailedError,
    TooManyPixelsError,
    UnreadableImageError,
    file_content,
    read_image,
)
from squeezekit.data.quiet_pillow import quiet_pillow
from squeezekit.system.errors import SqueezekitError

File = tuple[str, bytes]
Decoded = tuple[NDArray[np.uint8], list[str | None]]


def decode_block(
    files: Sequence[File], image_size: int, channels: int, max_pixels: int = MOST_PIXELS, large_to_caller: bool = False
) -> Decoded:
    """Decode files, given as (path, SHA-256 as 32 bytes), of at most `max_pixels`.

    Returns the pixels of those that can be decoded, uint8 [m <= n, image_size, image_size, channels], and for each of the n
    files None or the reason why not, which is about the file itself. Raises SqueezekitError when a file is not the one that was
    hashed, ReadingFailedError when memory or the disk failed, and with `large_to_caller` TooManyPixelsError.
    """
    pixels = np.empty((len(files), image_size, image_size, channels), np.uint8)
    reasons: list[str | None] = []
    with quiet_pillow:
        for row, (path, content_hash) in enumerate(files):
            try:
                content = BytesIO(same_content(path, content_hash))
                pixels[row] = read_image(content, image_size, channels, max_pixels=max_pixels)
                reasons.append(None)
            except ReadingFailedError as error:
                raise ReadingFailedError(path, error.reason) from error
            except UnreadableImageError as error:
                if large_to_caller and isinstance(error, TooManyPixelsError):
                    raise
                reasons.append(error.reason)
    return pixels[[reason is None for reason in reasons]], reasons


def hash_block(paths: Sequence[str]) -> list[bytes | str]:
    """The SHA-256 of each file's content as 32 bytes, or the reason (text) why it could not be read."""
    return [_hash(path) for path in paths]


def _hash(path: str) -> bytes | str:
    try:
        return hashlib.sha256(file_content(path)).digest()
    except OSError as error:
        return error.strerror or str(error)


def same_content(path: str, content_hash: bytes) -> bytes:
    """The content of a file that has been hashed; raises SqueezekitError when it is another one by now."""
    try:
        content = file_content(path)
    except OSError:
        content = b""
    if hashlib.sha256(content).digest() != content_hash:
        raise SqueezekitError(f"{path} was changed while the pictures were read: run the same command again")
    return content
