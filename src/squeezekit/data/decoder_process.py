"""A child process that decodes images, spoken to through its standard input and output (`decoder_main.py`).

Not `multiprocessing`: its fork is unsafe beside threads, and its spawn runs the user's script again. A child ends by itself when
its parent is killed, since its input then ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from squeezekit.data.block_decoding import Decoded, File
from squeezekit.system.errors import SqueezekitError


class DecoderProcess:
    """A context manager around one child, which lives as long as the block."""

    def __init__(self, image_size: int, channels: int) -> None:
        self._shape = (image_size, image_size, channels)
        # A session of its own: Ctrl-C is for the parent to handle.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "squeezekit.data.decoder_main", str(image_size), str(channels)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            start_new_session=True,
        )

    def __enter__(self) -> DecoderProcess:
        """Ready from the start."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child at once."""
        self._process.kill()
        self._process.communicate()

    def decode(self, files: Sequence[File]) -> Decoded:
        """As `decode_block`; raises SqueezekitError also when the child has died."""
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
