"""What a picture file asks of its decoder, found without decoding: files made to keep a decoder busy are refused.

Pixels are bounded by the header, but a file of a few kilobytes can make a decoder pass over them thousands of times, or have
millions of parts that say nothing.
"""

from __future__ import annotations

import re

# Encoders write about ten scans; one for each bit of each coefficient would still be fewer.
MOST_SCANS = 100
# Pillow looks at each part of a file in Python. Files of honest programs have parts of some kilobytes.
PARTS_OF_ANY_FILE, BYTES_OF_A_PART = 10_000, 1024
EXIF_PARTS = 1000
# Pillow decodes run lengths in Python.
MOST_BYTES_OF_RUN_LENGTHS = 4 * 2**20
TOO_MANY_PARTS = "it consists of too many parts that hold nothing"

# A marker that is neither stuffing nor a restart.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01
# Huffman tables, arithmetic coding and an extension stand among the codes for the start of a frame.
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_WITHOUT_LENGTH = frozenset((_START_OF_IMAGE, _TEMPORARY, *range(0xD0, 0xD8)))


def check_effort(content: bytes) -> None:
    """Raise ValueError, whose text names no file, when no honest picture needs this many steps to decode."""
    if content.startswith(b"\xff\xd8"):
        _check_jpeg(content)
    elif content.startswith(b"\x89PNG"):
        _check_png(content)
    elif content.startswith(b"BM"):
        _check_bmp(content)


def webp_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) that the header of a WebP file declares: its decoder takes memory before it says them."""
    kind, start = content[12:16], content[20:30]
    if content[8:12] != b"WEBP" or len(start) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(start[4:7], "little"), 1 + int.from_bytes(start[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(start[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(start[6:8], "little") & 0x3FFF, int.from_bytes(start[8:10], "little") & 0x3FFF
    return None


def _check_jpeg(content: bytes) -> None:
    start, in_one_scan = _start_of_picture(content)
    # Within a scan these two bytes are always a marker, but what stands behind the picture may hold them too.
    if not in_one_scan and content.count(b"\xff\xda", start) > MOST_SCANS and _scans(content, start) > MOST_SCANS:
        raise ValueError(f"a JPEG with more than {MOST_SCANS} scans")


def _start_of_picture(content: bytes) -> tuple[int, bool]:
    """Where the first scan begins, and whether it is all; every segment before it is a part, and every byte between them."""
    at, steps, sequential, components = 2, _most_parts(content), False, b""
    last = len(content) - 4
    while at <= last and steps > 0:
        code = content[at + 1]
        if content[at] != 0xFF or code in (0x00, 0xFF):
            at += 1
        elif code in (_START_OF_SCAN, _END_OF_IMAGE):
            return at, sequential and content[at + 4 : at + 5] == components
        else:
            # Pillow copies all of them for each further one.
            steps -= EXIF_PARTS if code == 0xE1 and content[at + 4 : at + 8] == b"Exif" else 0
            if 0xC0 <= code <= 0xCF and code not in _NO_FRAMES:
                sequential, components = code in (0xC0, 0xC1), content[at + 9 : at + 10]
            at += 2 if code in _WITHOUT_LENGTH else _segment(content, at)
        steps -= 1
    if steps <= 0:
        raise ValueError(TOO_MANY_PARTS)
    return len(content), False


def _scans(content: bytes, at: int) -> int:
    scans = 0
    while found := _MARKER.search(content, at, len(content) - 2):
        at, code = found.start(), content[found.start() + 1]
        if code == _END_OF_IMAGE:
            break
        scans += code == _START_OF_SCAN
        at += 2 if code in _WITHOUT_LENGTH else _segment(content, at)
    return scans


def _segment(content: bytes, at: int) -> int:
    """The length of a segment with its marker."""
    return 2 + max(content[at + 2] << 8 | content[at + 3], 2)


def _check_png(content: bytes) -> None:
    at, steps = 8, _most_parts(content)
    while at < len(content):
        if not steps:
            raise ValueError(TOO_MANY_PARTS)
        steps -= 1
        # Length, name, data, checksum.
        at += 12 + int.from_bytes(content[at : at + 4], "big")


def _check_bmp(content: bytes) -> None:
    compression = int.from_bytes(content[30:34], "little")
    if compression in (1, 2) and len(content) > MOST_BYTES_OF_RUN_LENGTHS:
        raise ValueError(f"a BMP of run lengths with more than {MOST_BYTES_OF_RUN_LENGTHS:,} bytes")


def _most_parts(content: bytes) -> int:
    return PARTS_OF_ANY_FILE + len(content) // BYTES_OF_A_PART
