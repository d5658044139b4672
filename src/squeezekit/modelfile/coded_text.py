"""Texts and JSON in the sections of a file, coded by the byte model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from squeezekit.codec.byte_model import MAX_CODED_BYTES, code_bytes, new_byte_model
from squeezekit.codec.range_coder import decoder, encoder, exhausted, finish
from squeezekit.codec.varint import ByteWriter
from squeezekit.modelfile.container import MAX_TEXT, coded_text, parse_json
from squeezekit.system.errors import SqueezekitError


def encode_json(content: Any) -> bytes:
    """JSON, compact and with sorted keys, as a coded text; raises SqueezekitError for numbers and texts that it cannot hold."""
    try:
        text = json.dumps(content, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise SqueezekitError(f"a .sqz file cannot hold what is to be written ({error})") from None
    if len(text) > MAX_TEXT:
        raise SqueezekitError(
            f"a .sqz file cannot hold names and notes of {len(text):,} bytes; at most {MAX_TEXT:,} are possible"
        )
    return encode_text(text)


def decode_json(data: bytes) -> Any:
    """What `encode_json` wrote; raises SqueezekitError."""
    return parse_json(decode_text(data))


def encode_text(text: bytes) -> bytes:
    """UTF-8, coded by the byte model, after its length."""
    coder = encoder(MAX_CODED_BYTES * len(text))
    code_bytes(coder, new_byte_model(), np.frombuffer(text, np.uint8).copy())
    writer = ByteWriter()
    writer.write_integer(len(text))
    writer.write_bytes(finish(coder))
    return bytes(writer)


def decode_text(data: bytes) -> bytes:
    """What `encode_text` wrote; raises SqueezekitError."""
    length, stream, budget = coded_text(data)
    text, coder = np.zeros(length, np.uint8), decoder(stream, budget)
    code_bytes(coder, new_byte_model(), text)
    if exhausted(coder):
        raise SqueezekitError("damaged: a text in it is cut short; get the file again")
    return text.tobytes()
