"""The program of a `DecoderProcess`: python -m squeezekit.data.decoder_main IMAGE_SIZE CHANNELS

A request is a line of JSON, [[path, hex SHA-256], …]. The answer is a line of JSON, {"reasons": [null | text, …]}, followed by
the pixels of the images whose reason is null; or {"error": text}.
"""

from __future__ import annotations

import json
import sys

from squeezekit.data.block_decoding import decode_block
from squeezekit.system.errors import SqueezekitError


def serve(image_size: int, channels: int) -> None:
    """Answer requests until standard input ends."""
    for line in sys.stdin.buffer:
        try:
            files = [(path, bytes.fromhex(content_hash)) for path, content_hash in json.loads(line)]
            pixels, reasons = decode_block(files, image_size, channels)
            sys.stdout.buffer.write(json.dumps({"reasons": reasons}).encode() + b"\n" + pixels.tobytes())
        except SqueezekitError as error:
            sys.stdout.buffer.write(json.dumps({"error": str(error)}).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
