"""Many image files at once, hashed and decoded on all processors, in blocks that come back in their order.

A block is at most 2 MiB of pixels, so that memory does not grow with the number of images. Threads are enough for photographs,
which Pillow decodes outside the interpreter's lock; of an image of 64 × 64 most of the time is spent under it, so that a large
set is decoded by child processes instead (60,000 JPEGs of 32 × 32 on two cores: 18 s by threads, 10 s by children).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TypeVar

from squeezekit.data.block_decoding import Decoded, File, decode_block, hash_block
from squeezekit.data.decoder_process import DecoderProcess
from squeezekit.data.image_file import MOST_PIXELS
from squeezekit.system.console import progress_bar
from squeezekit.system.processors import usable_processors

T = TypeVar("T")
Result = TypeVar("Result")

FILES_IN_BLOCK = 64
BYTES_IN_BLOCK = 2**21
# Children take a third of a second to start, about as long as one decodes two thousand small images.
FILES_WORTH_CHILDREN = 4000


def hash_files(paths: Sequence[str]) -> list[bytes | str]:
    """The SHA-256 of each file's content as 32 bytes, or the reason (text) why it could not be read."""
    return list(in_blocks("reading pictures", hash_block, paths))


def in_blocks(title: str, work: Callable[[Sequence[T]], Sequence[Result]], items: Sequence[T]) -> Iterator[Result]:
    """What `work` gives for each item, in their order, from blocks of items on all processors; `title` is that of the bar."""
    with progress_bar(title, len(items)) as advance:
        for block in _in_order(work, _blocks(items, FILES_IN_BLOCK)):
            yield from block
            advance(len(block))


def decode_files(files: Sequence[File], image_size: int, channels: int, max_pixels: int = MOST_PIXELS) -> Iterator[Decoded]:
    """Decode files, given as (path, SHA-256), in their order; yields and raises what `decode_block` does for each block."""
    block_size = max(min(BYTES_IN_BLOCK // (image_size**2 * channels), FILES_IN_BLOCK), 1)
    with ExitStack() as stack:
        decode = _decoder(stack, len(files), image_size, channels, max_pixels)
        advance = stack.enter_context(progress_bar("decoding pictures", len(files)))
        for block in _in_order(decode, _blocks(files, block_size)):
            yield block
            advance(len(block[1]))


def _decoder(
    stack: ExitStack, count: int, image_size: int, channels: int, max_pixels: int
) -> Callable[[Sequence[File]], Decoded]:
    """Decodes in the calling thread, or for many files in one of several child processes."""
    # In a frozen application sys.executable is the application itself.
    if count < FILES_WORTH_CHILDREN or usable_processors() == 1 or getattr(sys, "frozen", False):
        return lambda files: decode_block(files, image_size, channels, max_pixels)
    idle: SimpleQueue[DecoderProcess] = SimpleQueue()
    for _ in range(usable_processors()):
        idle.put(stack.enter_context(DecoderProcess(image_size, channels, max_pixels)))

    def decode(files: Sequence[File]) -> Decoded:
        child = idle.get()
        try:
            return child.decode(files)
        finally:
            idle.put(child)

    return decode


def _blocks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _in_order(work: Callable[[Sequence[T]], Result], blocks: Iterator[Sequence[T]]) -> Iterator[Result]:
    """The results of `work` for each block, with a few blocks in progress at a time."""
    workers = usable_processors()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for block in blocks:
            pending.append(pool.submit(work, block))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
