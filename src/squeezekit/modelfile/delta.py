"""A delta: what turns one `.sqz` file into another of the same network, in as few bytes as possible.

    delta = delta_between(old, new)
    apply_delta(old, delta) == new

A section that is unchanged costs a byte. Texts are predicted from those of the old file, weights from the old weights
(`codec/delta_model.py`). The layout is that of docs/reference/sqd-format.md, section “The delta, byte by byte”.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.codec.byte_model import MAX_CODED_BYTES, code_bytes, new_byte_model
from squeezekit.codec.coder_tables import COARSE, FINE
from squeezekit.codec.delta_model import DeltaModel, code_delta, new_delta_model
from squeezekit.codec.encodings import Array, GridEncoding, Quantized
from squeezekit.codec.log_scales import from_log_steps, resolution_of, to_log_steps
from squeezekit.codec.range_coder import Coder, Integers, decoder, encoder, exhausted, finish
from squeezekit.codec.tensor_list import BITS_PER_BYTE, FREE_BITS, MAX_BIT_LENGTH
from squeezekit.codec.tensors import decode_stored_tensors, encode_tensors
from squeezekit.codec.varint import ByteReader, ByteWriter
from squeezekit.modelfile.coded_text import decode_text, encode_text
from squeezekit.modelfile.container import MAX_SECTIONS, WEIGHTS, join_sections, split_sections
from squeezekit.system.errors import SqueezekitError

MAGIC = b"SQD\x1a"
VERSION = 1
# Enough to notice the wrong old file; whether the result is right, only its digest in signed metadata tells.
BASE_BYTES = 8
MAX_HEADER = 1 << 16
MAX_TEXT = 1 << 20
# What the least likely change of an integer can cost.
MAX_CODED_CHANGE = 110
Tensor = Array | Quantized


class SectionKind(IntEnum):
    """How a section of the new file is written."""

    UNCHANGED = 0
    TEXT_AFTER_OLD = 1  # A text, by a model that has seen the old one.
    TEXT = 2
    BYTES = 3
    WEIGHTS = 4


class TensorKind(IntEnum):
    """How a tensor of the new file is written."""

    UNCHANGED = 0
    INTEGERS = 1
    INTEGERS_AND_SCALES = 2
    GRID = 3  # Multiples of the same step.
    PLAIN = 4
    INTEGERS_AND_FINE_SCALES = 5


RESOLUTIONS: dict[int, int] = {TensorKind.INTEGERS_AND_SCALES: COARSE, TensorKind.INTEGERS_AND_FINE_SCALES: FINE}
TEXT_OR_BYTES = (SectionKind.TEXT_AFTER_OLD, SectionKind.TEXT, SectionKind.BYTES)


@dataclass(frozen=True)
class _SectionPlan:
    """How to write a section, and the text or bytes that stand for it."""

    kind: SectionKind
    content: bytes = b""


@dataclass
class _DeltaModels:
    """The context models of one delta: of weights, and of scales and biases."""

    weights: DeltaModel = field(default_factory=new_delta_model)
    vectors: DeltaModel = field(default_factory=new_delta_model)

    def of(self, integers: Integers) -> DeltaModel:
        """The model for an array."""
        return self.weights if integers.ndim > 1 else self.vectors


def delta_between(old: bytes, new: bytes) -> bytes | None:
    """The delta from one `.sqz` file to another; None where there is none that gives `new` byte for byte.

    There is one between files whose tensors have the same names, shapes and dtypes. Raises SqueezekitError for what is not a
    `.sqz` file.
    """
    sections, old_sections = split_sections(new), split_sections(old)
    tensors, old_tensors = decode_stored_tensors(sections[WEIGHTS]), decode_stored_tensors(old_sections[WEIGHTS])
    if _layout(tensors) != _layout(old_tensors):
        return None
    plans = {tag: _plan(tag, data, old_sections.get(tag)) for tag, data in sections.items()}
    kinds = {name: _tensor_kind(tensor, old_tensors[name]) for name, tensor in tensors.items()}
    header = _header(plans, kinds)
    start = ByteWriter()
    start.write_bytes(MAGIC)
    start.write_integer(VERSION)
    start.write_bytes(hashlib.sha256(old).digest()[:BASE_BYTES])
    start.write_integer(len(header))
    delta = bytes(start) + _encode_stream(header, plans, old_sections, tensors, old_tensors, kinds)
    try:
        return delta if apply_delta(old, delta) == new else None
    except SqueezekitError:
        # It has more coded bits than a reader accepts.
        return None


def apply_delta(old: bytes, delta: bytes) -> bytes:
    """The new file; raises SqueezekitError for a delta that is damaged or not made for `old`.

    Takes time and memory as `old` and the delta's length allow, whatever the delta contains. The caller must check by a digest
    that the result is the file that was meant.
    """
    start = ByteReader(delta)
    if start.read_bytes(min(len(MAGIC), len(delta))) != MAGIC:
        raise SqueezekitError("not a delta of .sqz files; get it again")
    if (version := start.read_integer()) != VERSION:
        raise SqueezekitError(f"a delta of version {version}; this squeezekit reads version {VERSION}, install a newer one")
    if start.read_bytes(BASE_BYTES) != hashlib.sha256(old).digest()[:BASE_BYTES]:
        raise SqueezekitError("a delta to another file than the one that is here; get the whole file")
    length = start.read_integer()
    if length > MAX_HEADER:
        raise _damaged()
    coder = decoder(delta[start.position :], FREE_BITS + BITS_PER_BYTE * (len(old) + len(delta)))
    header = ByteReader(_code_text(coder, np.zeros(length, np.uint8)))
    return join_sections(_decode_sections(header, coder, split_sections(old)))


def _layout(tensors: Mapping[str, Tensor]) -> list[Any]:
    """What two files must have in common."""
    return [(name, part.shape, "quantized" if isinstance(part, Quantized) else part.dtype) for name, part in tensors.items()]


def _damaged() -> SqueezekitError:
    return SqueezekitError("the delta is damaged or cut short; get it again, or the whole file")


def _plan(tag: str, data: bytes, old: bytes | None) -> _SectionPlan:
    if data == old:
        return _SectionPlan(SectionKind.UNCHANGED)
    if tag == WEIGHTS:
        return _SectionPlan(SectionKind.WEIGHTS)
    text = _text_of(data)
    if text is None:
        return _SectionPlan(SectionKind.BYTES, data)
    return _SectionPlan(SectionKind.TEXT if old is None or _text_of(old) is None else SectionKind.TEXT_AFTER_OLD, text)


def _text_of(section: bytes) -> bytes | None:
    """The text of a section that is one and is coded as squeezekit codes it."""
    try:
        text = decode_text(section)
    except SqueezekitError:
        return None
    return text if len(text) <= MAX_TEXT and encode_text(text) == section else None


def _tensor_kind(tensor: Tensor, old: Tensor) -> TensorKind:
    if isinstance(tensor, Quantized) and isinstance(old, Quantized):
        if not np.array_equal(tensor.scales, old.scales):
            fine = FINE in (resolution_of(tensor.scales), resolution_of(old.scales))
            return TensorKind.INTEGERS_AND_FINE_SCALES if fine else TensorKind.INTEGERS_AND_SCALES
        return TensorKind.UNCHANGED if np.array_equal(tensor.integers, old.integers) else TensorKind.INTEGERS
    assert not isinstance(tensor, Quantized) and not isinstance(old, Quantized)
    if tensor.tobytes() == old.tobytes():
        return TensorKind.UNCHANGED
    old_grid, grid = GridEncoding.of(old), GridEncoding.of(tensor)
    same_step = old_grid is not None and grid is not None and old_grid.step == grid.step
    return TensorKind.GRID if same_step else TensorKind.PLAIN


def _header(plans: Mapping[str, _SectionPlan], kinds: Mapping[str, TensorKind]) -> bytes:
    header = ByteWriter()
    header.write_integer(len(plans))
    for tag, plan in plans.items():
        header.write_bytes(tag.encode("ascii"))
        header.write_integer(plan.kind)
        if plan.kind in TEXT_OR_BYTES:
            header.write_integer(len(plan.content))
        if plan.kind == SectionKind.WEIGHTS:
            for kind in kinds.values():
                header.write_integer(kind)
    return bytes(header)


def _encode_stream(
    header: bytes,
    plans: Mapping[str, _SectionPlan],
    old_sections: Mapping[str, bytes],
    tensors: Mapping[str, Tensor],
    old_tensors: Mapping[str, Tensor],
    kinds: Mapping[str, TensorKind],
) -> bytes:
    texts = sum(len(plan.content) for plan in plans.values())
    coder = encoder(MAX_CODED_BYTES * (len(header) + texts) + MAX_CODED_CHANGE * _numbers(tensors.values()))
    _code_text(coder, np.frombuffer(header, np.uint8).copy())
    for tag, plan in plans.items():
        if plan.kind in TEXT_OR_BYTES:
            primer = decode_text(old_sections[tag]) if plan.kind == SectionKind.TEXT_AFTER_OLD else b""
            _code_text(coder, np.frombuffer(plan.content, np.uint8).copy(), primer)
        elif plan.kind == SectionKind.WEIGHTS:
            models = _DeltaModels()
            for name, tensor in tensors.items():
                _code_tensor(coder, models, old_tensors[name], kinds[name], tensor)
    return finish(coder)


def _decode_sections(header: ByteReader, coder: Coder, old_sections: Mapping[str, bytes]) -> dict[str, bytes]:
    sections: dict[str, bytes] = {}
    if (count := header.read_integer()) > MAX_SECTIONS:
        raise _damaged()
    for _ in range(count):
        tag = header.read_bytes(4).decode("latin-1")
        if tag in sections or not (tag.isascii() and tag.isalpha()):
            raise _damaged()
        sections[tag] = _decode_section(tag, header, coder, old_sections)
        if exhausted(coder):
            raise _damaged()
    if not header.at_end:
        raise _damaged()
    return sections


def _decode_section(tag: str, header: ByteReader, coder: Coder, old_sections: Mapping[str, bytes]) -> bytes:
    kind = header.read_integer()
    needs_old = kind in (SectionKind.UNCHANGED, SectionKind.TEXT_AFTER_OLD, SectionKind.WEIGHTS)
    is_weights = tag == WEIGHTS and kind != SectionKind.UNCHANGED
    if (needs_old and tag not in old_sections) or (kind == SectionKind.WEIGHTS) != is_weights:
        raise _damaged()
    if kind == SectionKind.UNCHANGED:
        return old_sections[tag]
    if kind == SectionKind.WEIGHTS:
        models, old_tensors = _DeltaModels(), decode_stored_tensors(old_sections[tag])
        tensors = {name: _code_tensor(coder, models, old, header.read_integer(), None) for name, old in old_tensors.items()}
        return encode_tensors(tensors)
    length = header.read_integer()
    if kind not in TEXT_OR_BYTES or length > MAX_TEXT:
        raise _damaged()
    primer = decode_text(old_sections[tag]) if kind == SectionKind.TEXT_AFTER_OLD else b""
    content = _code_text(coder, np.zeros(length, np.uint8), primer)
    return content if kind == SectionKind.BYTES else encode_text(content)


def _code_text(coder: Coder, text: NDArray[np.uint8], primer: bytes = b"") -> bytes:
    """Write bytes [n], or read into them, by a model that has seen the primer."""
    model = new_byte_model()
    code_bytes(encoder(MAX_CODED_BYTES * len(primer)), model, np.frombuffer(primer, np.uint8).copy())
    code_bytes(coder, model, text)
    return text.tobytes()


def _code_tensor(coder: Coder, models: _DeltaModels, old: Tensor, kind: int, new: Tensor | None) -> Tensor:
    """Write a tensor, or, where `new` is None, read it."""
    if kind == TensorKind.UNCHANGED:
        return old
    if isinstance(old, Quantized):
        assert new is None or isinstance(new, Quantized)
        return _code_quantized(coder, models, old, kind, new)
    assert not isinstance(new, Quantized)
    if kind == TensorKind.PLAIN:
        numbers = np.zeros(old.shape, np.float32) if new is None else new
        data = _code_text(coder, np.frombuffer(numbers.tobytes(), np.uint8).copy())
        return np.frombuffer(data, np.float32).reshape(old.shape)
    old_grid = GridEncoding.of(old)
    if kind != TensorKind.GRID or old_grid is None:
        raise _damaged()
    grid = None if new is None else GridEncoding.of(new)
    integers = _code_integers(coder, models, old_grid.integers, None if grid is None else grid.integers)
    return integers.astype(np.float32) * old_grid.step


def _code_quantized(coder: Coder, models: _DeltaModels, old: Quantized, kind: int, new: Quantized | None) -> Quantized:
    scales = old.scales
    if kind != TensorKind.INTEGERS:
        resolution = RESOLUTIONS.get(kind)
        old_exponents = None if resolution is None else to_log_steps(old.scales, resolution)
        if resolution is None or old_exponents is None:
            raise _damaged()
        new_exponents = None if new is None else to_log_steps(new.scales, resolution)
        scales = from_log_steps(_code_integers(coder, models, old_exponents, new_exponents), resolution)
    return Quantized(_code_integers(coder, models, old.integers, None if new is None else new.integers), scales)


def _code_integers(coder: Coder, models: _DeltaModels, old: Integers, new: Integers | None) -> Integers:
    values = np.zeros_like(old) if new is None else new.copy()
    rows, columns = old.shape[:2] if old.ndim > 1 else (1, old.size)
    shape = (rows, columns, prod(old.shape[2:]))
    code_delta(coder, models.of(old), old.reshape(shape), values.reshape(shape))
    if values.size and int(np.abs(values).max()) >> MAX_BIT_LENGTH:
        raise _damaged()
    return values


def _numbers(tensors: Iterable[Tensor]) -> int:
    return sum(prod(tensor.shape) + (tensor.shape[0] if tensor.shape else 0) for tensor in tensors)
