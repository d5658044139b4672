"""A child process that decodes images, spoken to through its standard input and output (`decoder_main.py`).

Not `multiprocessing`: its fork is unsafe beside threads, and its spawn runs the user's script again. A child ends by itself when
its parent is killed, since its input then ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.block_decoding import Decoded, File, decode_block
from squeezekit.data.image_file import MOST_PIXELS, ReadingFailedError, UnreadableImageError
from squeezekit.system.errors import RunFailed, SqueezekitError


class DecoderEndedError(RunFailed):
    """The child has died or was ended: it can decode nothing more."""


class DecoderProcess:
    """A context manager around one child, which lives as long as the block. Pictures of more than `max_pixels` are refused."""

    def __init__(self, image_size: int, channels: int, max_pixels: int = MOST_PIXELS) -> None:
        self.shape, self._max_pixels = (image_size, image_size, channels), max_pixels
        # A session of its own: Ctrl-C is for the parent to handle.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "squeezekit.data.decoder_main", *map(str, (image_size, channels, max_pixels))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            start_new_session=True,
        )

    def __enter__(self) -> DecoderProcess:
        """Ready from the start."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child at once, also while another thread waits for its answer, which then raises DecoderEndedError."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def decode(self, files: Sequence[File]) -> Decoded:
        """As `decode_block`; raises DecoderEndedError when the child has died.

        Blocks with large pictures are decoded in the calling thread: threads share memory for their pixels, children do not.
        """
        request = json.dumps([(path, content_hash.hex()) for path, content_hash in files])
        answer, pixels = self._ask(request.encode() + b"\n", f"near {files[0][0]}")
        if "large" in answer:
            return decode_block(files, self.shape[0], self.shape[2], self._max_pixels)
        if "error" in answer:
            raise SqueezekitError(answer["error"])
        return np.frombuffer(pixels, np.uint8).reshape(-1, *self.shape), answer["reasons"]

    def decode_content(self, content: bytes, seconds: float) -> NDArray[np.uint8]:
        """As `read_image` of a file's content; ends the child and raises DecoderEndedError after `seconds`."""
        timer = threading.Timer(seconds, self._process.kill)
        timer.start()
        try:
            answer, pixels = self._ask(json.dumps(len(content)).encode() + b"\n" + content, f"after at most {seconds:g} s")
        finally:
            timer.cancel()
        if "passing" in answer:
            raise ReadingFailedError("the picture", answer["passing"])
        if "unreadable" in answer:
            raise UnreadableImageError("the picture", answer["unreadable"])
        return np.frombuffer(pixels, np.uint8).reshape(self.shape)

    def _ask(self, request: bytes, where: str) -> tuple[dict[str, Any], bytes]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            size = answer.get("pictures", 0) * int(np.prod(self.shape))
            pixels = self._process.stdout.read(size)
            if len(pixels) == size:
                return answer, pixels
        except (OSError, ValueError):
            pass
        raise DecoderEndedError(
            f"a process that decodes pictures was ended {where}: run the same command again, with more memory if it ran short"
        )
