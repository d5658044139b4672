"""The program of a `DecoderProcess`: python -m squeezekit.data.decoder_main IMAGE_SIZE CHANNELS MAX_PIXELS

A request is a line of JSON, and so is the answer. The paths of files, [[path, hex SHA-256], …], are answered by {"pictures": n,
"reasons": [null | text, …]} and the pixels of the n images whose reason is null; or by {"error": text}; or by {"large": true}
when one has more pixels than a child may decode unasked. A number of bytes, followed by them, is the content of a file, answered
by {"pictures": 1} and its pixels; or by {"unreadable": reason}; or by {"passing": reason} when the file is not to blame.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from typing import Any

from squeezekit.data.block_decoding import decode_block
from squeezekit.data.image_file import ReadingFailedError, TooManyPixelsError, UnreadableImageError, read_image
from squeezekit.system.errors import SqueezekitError

# So many are decoded in each child at a time, whatever the others do.
LARGE_PIXELS = 4_000_000


def serve(image_size: int, channels: int, max_pixels: int) -> None:
    """Answer requests until standard input ends."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if isinstance(request, int):
            answer, pixels = _decode_content(sys.stdin.buffer.read(request), image_size, channels, max_pixels)
        else:
            answer, pixels = _decode_files(request, image_size, channels, max_pixels)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + pixels)
        sys.stdout.buffer.flush()


def _decode_files(request: list[list[str]], image_size: int, channels: int, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    files = [(path, bytes.fromhex(content_hash)) for path, content_hash in request]
    limit = min(max_pixels, LARGE_PIXELS)
    try:
        pixels, reasons = decode_block(files, image_size, channels, limit, limit < max_pixels)
    except TooManyPixelsError:
        return {"large": True}, b""
    except SqueezekitError as error:
        return {"error": str(error)}, b""
    return {"pictures": len(pixels), "reasons": reasons}, pixels.tobytes()


def _decode_content(content: bytes, image_size: int, channels: int, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    try:
        pixels = read_image(BytesIO(content), image_size, channels, max_pixels=max_pixels)
    except ReadingFailedError as error:
        return {"passing": error.reason}, b""
    except UnreadableImageError as error:
        return {"unreadable": error.reason}, b""
    return {"pictures": 1}, pixels.tobytes()


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
