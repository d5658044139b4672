"""Many files at once: hashed, then decoded, by as many threads as there are processors.

Threads suffice, as Pillow decodes and hashlib hashes outside the interpreter's lock. Work goes out in blocks of at most
2 MiB of pixels and comes back in order, so that memory does not grow with the number of pictures.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from squeezekit.errors import SqueezekitError
from squeezekit.images.picture import UnreadablePicture, read_picture
from squeezekit.images.progress import progress_bar

T = TypeVar("T")
Result = TypeVar("Result")

FILES_IN_BLOCK = 64
BYTES_IN_BLOCK = 2**21


def hash_files(paths: Sequence[str]) -> list[bytes | str]:
    """The SHA-256 of each file's content as 32 bytes, or the reason (text) why it could not be read."""

    def hash_block(block: Sequence[str]) -> list[bytes | str]:
        return [_hash(path) for path in block]

    hashes: list[bytes | str] = []
    with progress_bar("reading pictures", len(paths)) as advance:
        for block in _in_order(hash_block, _blocks(paths, FILES_IN_BLOCK)):
            hashes += block
            advance(len(block))
    return hashes


def decode_files(
    files: Sequence[tuple[str, bytes]], image_size: int, channels: int
) -> Iterator[tuple[NDArray[np.uint8], list[str | None]]]:
    """Decode files, given as (path, SHA-256), in their order and in blocks.

    Yields the pixels of those that can be decoded, uint8 [m <= n, image_size, image_size, channels], and for each of
    the block's n files None or the reason why not. Raises SqueezekitError when a file is not the one that was hashed.
    """

    def decode_block(block: Sequence[tuple[str, bytes]]) -> tuple[NDArray[np.uint8], list[str | None]]:
        pixels = np.empty((len(block), image_size, image_size, channels), np.uint8)
        reasons: list[str | None] = []
        for row, (path, content_hash) in enumerate(block):
            try:
                pixels[row] = read_picture(BytesIO(_same_content(path, content_hash)), image_size, channels)
                reasons.append(None)
            except UnreadablePicture as error:
                reasons.append(error.reason)
        return pixels[[reason is None for reason in reasons]], reasons

    size = max(min(BYTES_IN_BLOCK // (image_size**2 * channels), FILES_IN_BLOCK), 1)
    with progress_bar("decoding pictures", len(files)) as advance:
        for block in _in_order(decode_block, _blocks(files, size)):
            yield block
            advance(len(block[1]))


def _hash(path: str) -> bytes | str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError as error:
        return error.strerror or str(error)


def _same_content(path: str, content_hash: bytes) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).digest() != content_hash:
        raise SqueezekitError(f"{path} was changed while the pictures were read: run the same command again")
    return content


def _blocks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _in_order(work: Callable[[Sequence[T]], Result], blocks: Iterator[Sequence[T]]) -> Iterator[Result]:
    """The results of `work` for each block, with a few blocks under way at a time."""
    workers = _processors()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for block in blocks:
            pending.append(pool.submit(work, block))
            if len(pending) > workers + 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _processors() -> int:
    # Those this process may use, which in a container are fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
