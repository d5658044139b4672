"""The container of a `.sqz` file: magic, version, sections, and the SHA-256 of all that (docs/reference/sqz-format.md).

A section has a tag of four letters. A reader may skip a section whose tag begins with a lower-case letter; it must refuse a file
with an unknown section whose tag begins with an upper-case one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..codec.tensor_list import BITS_PER_BYTE, FREE_BITS
from ..codec.varint import ByteReader, ByteWriter
from ..system.errors import SqueezekitError
from ..system.outside_files import finite

MAGIC = b"SQZ\x1a"
VERSION = 1
DIGEST_BYTES = 32
MAX_SECTIONS = 256
# Of lists and tables in one another; ours have five levels.
MAX_DEPTH = 32
# Bytes: as many classes as there may be, with names of thirty letters.
MAX_TEXT = 1 << 21
# Tags.
NETWORK, WEIGHTS = "Netw", "Wght"
STAGES, PROVENANCE, PROBABILITY_CALIBRATION, SELF_CHECK, ACTIVATION_RANGES = "stag", "orig", "conf", "chck", "rang"
NONE_OF_THESE = "none"
# The one way to resize pictures, that of data/image_file.py.
RESIZE = "centre square, antialiased bilinear"


def join_sections(sections: Mapping[str, bytes]) -> bytes:
    """The file of these sections, by tag."""
    writer = ByteWriter()
    writer.write_bytes(MAGIC)
    writer.write_integer(VERSION)
    writer.write_integer(len(sections))
    for tag, data in sections.items():
        writer.write_bytes(tag.encode("ascii"))
        writer.write_integer(len(data))
        writer.write_bytes(data)
    return bytes(writer) + hashlib.sha256(bytes(writer)).digest()


def split_sections(data: bytes) -> dict[str, bytes]:
    """The sections of a file, by tag; raises SqueezekitError for what is not a whole `.sqz` file of this version."""
    if not data.startswith(MAGIC):
        raise SqueezekitError("not a .sqz file; give one that squeezekit compress has made")
    reader = ByteReader(data[:-DIGEST_BYTES], len(MAGIC))
    version = reader.read_integer()
    if version != VERSION:
        raise SqueezekitError(f"a .sqz file of version {version}; this squeezekit reads version {VERSION}, install a newer one")
    if hashlib.sha256(data[:-DIGEST_BYTES]).digest() != data[-DIGEST_BYTES:]:
        raise SqueezekitError("damaged: its digest is not that of its content; get the file again")
    sections: dict[str, bytes] = {}
    for _ in range(reader.read_integer()):
        tag = reader.read_bytes(4).decode("latin-1")
        if not (tag.isascii() and tag.isalpha()) or tag in sections or len(sections) == MAX_SECTIONS:
            raise SqueezekitError("damaged: its sections make no sense; get the file again")
        sections[tag] = reader.read_bytes(reader.read_integer())
        if tag[0].isupper() and tag not in (NETWORK, WEIGHTS):
            raise SqueezekitError(f"needs a reader that knows its section '{tag}'; install a newer squeezekit")
    if not reader.at_end or not {NETWORK, WEIGHTS} <= set(sections):
        raise SqueezekitError("damaged: its sections are not all there; get the file again")
    return sections


def parse_json(text: bytes | str) -> Any:
    """JSON of finite numbers and of texts that can be written again, nested at most `MAX_DEPTH` deep; raises SqueezekitError."""
    try:
        content = json.loads(text, parse_float=finite, parse_constant=finite)
        # JSON can spell half of a pair of surrogates, which UTF-8 cannot.
        json.dumps(content, ensure_ascii=False).encode()
        _check_depth(content, MAX_DEPTH)
    except (ValueError, RecursionError):
        raise SqueezekitError("damaged: a text in it is not JSON; get the file again") from None
    return content


def coded_text(data: bytes) -> tuple[int, bytes, int]:
    """Of a coded text its length in bytes, its stream, and the bits that may be read of it; raises SqueezekitError."""
    reader = ByteReader(data)
    length, budget = reader.read_integer(), FREE_BITS + BITS_PER_BYTE * len(data)
    if 8 * length > budget or length > MAX_TEXT:
        raise SqueezekitError("damaged: a text in it is too long; get the file again")
    return length, data[reader.position :], budget


def _check_depth(content: Any, levels: int) -> None:
    inside = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    if inside and not levels:
        raise ValueError("nested too deeply")
    for part in inside:
        _check_depth(part, levels - 1)
