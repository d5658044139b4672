"""A child interpreter that decodes pictures, spoken to through its standard input and output.

Not `multiprocessing`: its fork is unsafe beside threads, and its spawn runs the user's script again. A child ends by
itself when its parent is killed, since its input then ends.

A request is a line of JSON, [[path, hex SHA-256], …]. The answer is a line of JSON, {"reasons": [null | text, …]},
followed by the pixels of the pictures whose reason is null; or {"error": text}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezekit.system.errors import SqueezekitError


class Child:
    """A context manager around one child; it lives as long as the block."""

    def __init__(self, image_size: int, channels: int) -> None:
        self._shape = (image_size, image_size, channels)
        # A session of its own: Ctrl-C is for the parent to handle.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({image_size}, {channels})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            start_new_session=True,
        )

    def __enter__(self) -> Child:
        """Ready from the start."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate()

    def decode(self, files: Sequence[tuple[str, bytes]]) -> tuple[NDArray[np.uint8], list[str | None]]:
        """As `decoding.decode_block`; SqueezekitError also when the child has died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = json.dumps([(path, content_hash.hex()) for path, content_hash in files])
        try:
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            if "error" in answer:
                raise SqueezekitError(answer["error"])
            count = answer["reasons"].count(None)
            pixels = self._process.stdout.read(count * int(np.prod(self._shape)))
            return np.frombuffer(pixels, np.uint8).reshape(count, *self._shape), answer["reasons"]
        except (OSError, ValueError) as error:
            raise SqueezekitError(
                f"a process that decodes pictures was ended near {files[0][0]}: run the same command again, with more "
                "memory if it ran short"
            ) from error


def serve(image_size: int, channels: int) -> None:
    """The child's side: answer requests until there are no more."""
    from squeezekit.data.decoding import decode_block

    for line in sys.stdin.buffer:
        try:
            files = [(path, bytes.fromhex(content_hash)) for path, content_hash in json.loads(line)]
            pixels, reasons = decode_block(files, image_size, channels)
            sys.stdout.buffer.write(json.dumps({"reasons": reasons}).encode() + b"\n" + pixels.tobytes())
        except SqueezekitError as error:
            sys.stdout.buffer.write(json.dumps({"error": str(error)}).encode() + b"\n")
        sys.stdout.buffer.flush()
