"""What turns one `.sqz` file into another of the same network, in as few bytes as possible.

    delta = delta_between(old, new)
    apply_delta(old, delta) == new

Sections that are the same cost a byte, texts are foretold from those of the old file, weights from the old ones
(`changes.py`). The layout is that of docs/updates.md, section “The delta, byte by byte”.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.byte_model import MOST_BYTES, code_text, fresh_text
from squeezekit.codec.delta_model import DeltaModel, code_delta, fresh_delta_model
from squeezekit.codec.encodings import Grid, Quantized
from squeezekit.codec.integer_model import LONGEST
from squeezekit.codec.log_scales import COARSE, FINE, from_log_steps, steps_of, to_log_steps
from squeezekit.codec.range_coder import Coder, Integers, decoder, encoder, exhausted, finished
from squeezekit.codec.tensors import BITS_PER_BYTE, FREE_BITS, Array, decode_parts, encode_tensors
from squeezekit.codec.varint import Fields
from squeezekit.modelfile.sqz import MOST_SECTIONS, WEIGHTS, joined, read_text, sections_of, write_text
from squeezekit.system.errors import SqueezekitError

MAGIC = b"SQD\x1a"
VERSION = 1
# Enough to notice the wrong old file; whether the result is right, only its digest in signed metadata says.
BASE_BYTES = 8
MOST_LIST = 1 << 16
MOST_TEXT = 1 << 20
# What a section is: that of the old file, a text foretold from it, a text, plain bytes, the weights.
SAME, FORETOLD, TEXT, BYTES, CHANGED = range(5)
# What an array is: the old one, changes of its integers and perhaps of its scales, or numbers one by one.
KEPT, INTEGERS, INTEGERS_AND_SCALES, ON_GRID, PLAIN, INTEGERS_AND_FINE_SCALES = range(6)
STEPS = {INTEGERS_AND_SCALES: COARSE, INTEGERS_AND_FINE_SCALES: FINE}
# What the least likely bits of a change can cost.
MOST_BYTES_A_CHANGE = 110
Part = Array | Quantized


@dataclass
class Models:
    """What coder and decoder have learnt so far: of filters, and of scales and biases."""

    filters: DeltaModel = field(default_factory=fresh_delta_model)
    vectors: DeltaModel = field(default_factory=fresh_delta_model)

    def of(self, integers: Integers) -> DeltaModel:
        """Those for an array."""
        return self.filters if integers.ndim > 1 else self.vectors


def delta_between(old: bytes, new: bytes) -> bytes | None:
    """The delta from one `.sqz` file to another; None where there is none, or none that comes to `new` byte for byte.

    There is one between files whose arrays have the same names, shapes and kinds of numbers. Raises SqueezekitError for what is
    no `.sqz` file.
    """
    sections, others = sections_of(new), sections_of(old)
    parts, known = decode_parts(sections[WEIGHTS]), decode_parts(others[WEIGHTS])
    if _alike(parts) != _alike(known):
        return None
    header = Fields()
    header.write_integer(len(sections))
    plans = {tag: _plan(tag, data, others.get(tag)) for tag, data in sections.items()}
    for tag, (kind, content) in plans.items():
        header.write(tag.encode("ascii"))
        header.write_integer(kind)
        if kind in (FORETOLD, TEXT, BYTES):
            header.write_integer(len(content))
        if kind == CHANGED:
            for kind_of_array in (_kind(part, known[name]) for name, part in parts.items()):
                header.write_integer(kind_of_array)
    start = Fields(MAGIC, len(MAGIC))
    start.write_integer(VERSION)
    start.write(hashlib.sha256(old).digest()[:BASE_BYTES])
    start.write_integer(len(bytes(header)))
    delta = bytes(start) + _stream(bytes(header), plans, others, parts, known)
    try:
        return delta if apply_delta(old, delta) == new else None
    except SqueezekitError:
        # More coded bits than a reader puts up with.
        return None


def apply_delta(old: bytes, delta: bytes) -> bytes:
    """The new file; raises SqueezekitError for a delta that is damaged or not made for `old`.

    Takes time and memory as `old` and the delta's length allow, whatever the delta says. Whether the result is the file that was
    meant is for the caller to check, by its digest.
    """
    start = Fields(delta)
    if start.read(min(len(MAGIC), len(delta))) != MAGIC:
        raise SqueezekitError("not a delta of .sqz files; get it again")
    if (version := start.read_integer()) != VERSION:
        raise SqueezekitError(f"a delta of version {version}; this squeezekit reads version {VERSION}, install a newer one")
    if start.read(BASE_BYTES) != hashlib.sha256(old).digest()[:BASE_BYTES]:
        raise SqueezekitError("a delta to another file than the one that is here; get the whole file")
    length = start.read_integer()
    if length > MOST_LIST:
        raise _damaged()
    coder = decoder(delta[start.position :], FREE_BITS + BITS_PER_BYTE * (len(old) + len(delta)))
    header = Fields(_text(coder, np.zeros(length, np.uint8)))
    sections, others = dict[str, bytes](), sections_of(old)
    if (count := header.read_integer()) > MOST_SECTIONS:
        raise _damaged()
    for _ in range(count):
        tag = header.read(4).decode("latin-1")
        if tag in sections or not (tag.isascii() and tag.isalpha()):
            raise _damaged()
        sections[tag] = _section(tag, header, coder, others)
        if exhausted(coder):
            raise _damaged()
    if not header.at_end:
        raise _damaged()
    return joined(sections)


def _alike(parts: Mapping[str, Part]) -> list[Any]:
    """What two files must have in common."""
    return [(name, part.shape, "rows" if isinstance(part, Quantized) else part.dtype) for name, part in parts.items()]


def _damaged() -> SqueezekitError:
    return SqueezekitError("the delta is damaged or cut short; get it again, or the whole file")


def _plan(tag: str, data: bytes, before: bytes | None) -> tuple[int, bytes]:
    """What to write of a section: its kind, and the text or bytes that stand for it."""
    if data == before:
        return SAME, b""
    if tag == WEIGHTS:
        return CHANGED, b""
    text = _text_of(data)
    if text is None:
        return BYTES, data
    return (TEXT if before is None or _text_of(before) is None else FORETOLD), text


def _text_of(section: bytes) -> bytes | None:
    """Of a section that is one, written as squeezekit writes it."""
    try:
        text = read_text(section)
    except SqueezekitError:
        return None
    return text if len(text) <= MOST_TEXT and write_text(text) == section else None


def _kind(part: Part, before: Part) -> int:
    """What an array is, after an old one of the same shape."""
    if isinstance(part, Quantized) and isinstance(before, Quantized):
        if not np.array_equal(part.scales, before.scales):
            fine = FINE in (steps_of(part.scales), steps_of(before.scales))
            return INTEGERS_AND_FINE_SCALES if fine else INTEGERS_AND_SCALES
        return KEPT if np.array_equal(part.integers, before.integers) else INTEGERS
    assert not isinstance(part, Quantized) and not isinstance(before, Quantized)
    if part.tobytes() == before.tobytes():
        return KEPT
    grid, other = Grid.of(before), Grid.of(part)
    return ON_GRID if grid is not None and other is not None and grid.step == other.step else PLAIN


def _stream(
    header: bytes,
    plans: Mapping[str, tuple[int, bytes]],
    others: Mapping[str, bytes],
    parts: Mapping[str, Part],
    known: Mapping[str, Part],
) -> bytes:
    texts = sum(len(content) for _, content in plans.values())
    coder = encoder(MOST_BYTES * (len(header) + texts) + MOST_BYTES_A_CHANGE * _numbers(parts.values()))
    _text(coder, np.frombuffer(header, np.uint8).copy())
    for tag, (kind, content) in plans.items():
        if kind in (FORETOLD, TEXT, BYTES):
            primer = read_text(others[tag]) if kind == FORETOLD else b""
            _text(coder, np.frombuffer(content, np.uint8).copy(), primer)
        elif kind == CHANGED:
            models = Models()
            for name, part in parts.items():
                _array(coder, models, known[name], _kind(part, known[name]), part)
    return finished(coder)


def _section(tag: str, header: Fields, coder: Coder, others: Mapping[str, bytes]) -> bytes:
    kind = header.read_integer()
    if (kind in (SAME, FORETOLD, CHANGED) and tag not in others) or (kind == CHANGED) != (tag == WEIGHTS and kind != SAME):
        raise _damaged()
    if kind == SAME:
        return others[tag]
    if kind == CHANGED:
        models, known = Models(), decode_parts(others[tag])
        return encode_tensors({name: _array(coder, models, part, header.read_integer(), None) for name, part in known.items()})
    length = header.read_integer()
    if kind > BYTES or length > MOST_TEXT:
        raise _damaged()
    content = _text(coder, np.zeros(length, np.uint8), read_text(others[tag]) if kind == FORETOLD else b"")
    return content if kind == BYTES else write_text(content)


def _text(coder: Coder, octets: NDArray[np.uint8], primer: bytes = b"") -> bytes:
    """Code bytes, or fill them, by a model that has seen the primer."""
    bits, mix = fresh_text()
    code_text(encoder(MOST_BYTES * len(primer)), bits, mix, np.frombuffer(primer, np.uint8).copy())
    code_text(coder, bits, mix, octets)
    return octets.tobytes()


def _array(coder: Coder, models: Models, before: Part, kind: int, part: Part | None) -> Part:
    """Code an array, or, where `part` is None, read it."""
    if kind == KEPT:
        return before
    if isinstance(before, Quantized):
        if kind != INTEGERS and kind not in STEPS:
            raise _damaged()
        assert part is None or isinstance(part, Quantized)
        scales = before.scales
        if steps := STEPS.get(kind):
            old, new = to_log_steps(before.scales, steps), None if part is None else to_log_steps(part.scales, steps)
            if old is None:
                raise _damaged()
            scales = from_log_steps(_changed(coder, models, old, new), steps)
        return Quantized(_changed(coder, models, before.integers, None if part is None else part.integers), scales)
    assert not isinstance(part, Quantized)
    if kind == PLAIN:
        numbers = np.zeros(before.shape, np.float32) if part is None else part
        octets = _text(coder, np.frombuffer(numbers.tobytes(), np.uint8).copy())
        return np.frombuffer(octets, np.float32).reshape(before.shape)
    grid = Grid.of(before)
    if kind != ON_GRID or grid is None:
        raise _damaged()
    other = None if part is None else Grid.of(part)
    integers = _changed(coder, models, grid.integers, None if other is None else other.integers)
    return integers.astype(np.float32) * grid.step


def _changed(coder: Coder, models: Models, old: Integers, new: Integers | None) -> Integers:
    values = np.zeros_like(old) if new is None else new.copy()
    rows, columns = old.shape[:2] if old.ndim > 1 else (1, old.size)
    shape = (rows, columns, prod(old.shape[2:]))
    code_delta(coder, models.of(old), old.reshape(shape), values.reshape(shape))
    if values.size and int(np.abs(values).max()) >> LONGEST:
        raise _damaged()
    return values


def _numbers(parts: Iterable[Part]) -> int:
    return sum(prod(part.shape) + (part.shape[0] if part.shape else 0) for part in parts)
