"""The self-check of a file on a device: its network in floats must give the logits that the file states for images of ours.

Integers are no test of a file: on such images, unlike photos, they are far from floats. What they compute is one plan, the same
on every machine.
"""

from __future__ import annotations

import ctypes
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from ..integer.parts import (
    BlockLayers,
    ConvolutionLayer,
    FireLayers,
    GraphLayers,
    GraphPooling,
    NetworkPart,
    PoolingLayer,
    Structure,
)
from ..modelfile.check_image import check_pixels, problem_of_difference
from .coded_numbers import Tensor
from .library import library
from .model import DeviceModel


def self_check_problem(model: DeviceModel) -> str | None:
    """Why the network of a file fails its self-check, in half a sentence; None if it passes."""
    if not model.expected:
        return "it carries no self-check"
    found = [logit for seed in model.seeds for logit in _logits(model, seed)]
    expected = [logit for row in model.expected for logit in row]
    if not all(map(math.isfinite, found)):
        return problem_of_difference(math.inf)
    largest = max(max(map(abs, expected)), 1e-6)
    return problem_of_difference(max(abs(one - other) for one, other in zip(found, expected, strict=True)) / largest)


def _logits(model: DeviceModel, seed: int) -> list[float]:
    structure, network = model.structure, _FloatNetwork(model.structure, model.tensors)
    side, channels = structure.side, structure.channels
    pixels = check_pixels(seed, side, channels)
    planes = [pixels[channel::channels] for channel in range(channels)]
    logits = network.logits(planes)
    if not structure.mirrored:
        return logits
    mirrored = [b"".join(plane[row : row + side][::-1] for row in range(0, side * side, side)) for plane in planes]
    return [(one + other) / 2 for one, other in zip(logits, network.logits(mirrored), strict=True)]


@dataclass(frozen=True)
class _FloatMap:
    """Floats [channels, side, side]."""

    channels: int
    side: int
    floats: array[float]

    @property
    def address(self) -> int:
        return self.floats.buffer_info()[0]

    def channel(self, number: int) -> array[float]:
        return self.floats[number * self.side**2 : (number + 1) * self.side**2]


class _Layer(ctypes.Structure):
    """`struct float_layer` of device.c."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("channels", "height", "width", "filters", "out_height", "out_width")),
        *((name, ctypes.c_size_t) for name in ("kernel", "stride", "padding")),
        ("depthwise", ctypes.c_int),
        ("rectified", ctypes.c_int),
    )


class _FloatNetwork:
    """The network of a file in floats, part by part."""

    def __init__(self, structure: Structure, tensors: Mapping[str, Tensor]) -> None:
        self._structure, self._tensors = structure, tensors

    def logits(self, planes: list[bytes]) -> list[float]:
        """Those of an image, a plane of bytes a channel."""
        structure, floats = self._structure, array("f")
        for channel, plane in enumerate(planes):
            mean, std = structure.mean[channel % len(structure.mean)], structure.std[channel % len(structure.std)]
            floats.extend((byte / 255 - mean) / std for byte in plane)
        current = _FloatMap(len(planes), structure.side, floats)
        maps, last = {0: current}, {read: place for place, part in enumerate(structure.parts, 1) for read in _read_by(part)}
        for place, part in enumerate(structure.parts, 1):
            current = self._node(part, maps) if isinstance(part, GraphLayers | GraphPooling) else self._part(part, current)
            # Only those that a later part reads are kept.
            maps = {at: made for at, made in {**maps, place: current}.items() if last.get(at, 0) > place}
        if structure.rectified:
            return _means(self._convolution(structure.classifier, current))
        rest = [max(current.channel(c)) for c in range(current.channels)] if structure.largest else _means(current)
        return list(self._convolution(structure.classifier, _FloatMap(len(rest), 1, array("f", rest)), rectified=False).floats)

    def _node(self, part: GraphLayers | GraphPooling, maps: Mapping[int, _FloatMap]) -> _FloatMap:
        source = maps[part.source]
        if isinstance(part, GraphPooling):
            return _pooled(source, part.pooling.size)
        out = _joined([self._convolution(layer, source, rectified=False) for layer in part.convolutions])
        out = out if part.added is None else _sum(out, maps[part.added])
        return _rectified(out, part.most) if part.rectified else out

    def _part(self, part: NetworkPart, source: _FloatMap) -> _FloatMap:
        if isinstance(part, PoolingLayer):
            return _pooled(source, part.size)
        if isinstance(part, FireLayers):
            return self._fire(part, source)
        if isinstance(part, BlockLayers):
            current = source
            for layer in part.convolutions:
                current = self._convolution(layer, current)
            out = self._convolution(part.last, current, rectified=part.rectified)
            return _sum(out, source) if part.residual else out
        assert isinstance(part, ConvolutionLayer)
        return self._convolution(part, source)

    def _fire(self, fire: FireLayers, source: _FloatMap) -> _FloatMap:
        squeezed = self._convolution(fire.squeeze, source)
        out = _joined([self._convolution(branch, squeezed) for branch in fire.branches])
        if fire.bypass is not None:
            return _sum(out, self._convolution(fire.bypass, source, rectified=False))
        return _sum(out, source) if fire.identity else out

    def _convolution(self, layer: ConvolutionLayer, source: _FloatMap, *, rectified: bool = True) -> _FloatMap:
        side = (source.side + 2 * layer.padding - layer.kernel) // layer.stride + 1
        target = _empty(layer.filters, side)
        sides = (source.channels, source.side, source.side, layer.filters, side, side)
        given = _Layer(*sides, layer.kernel, layer.stride, layer.padding, layer.depthwise, rectified)
        weights, bias = (self._tensors[f"{layer.name}.{kind}"].floats.buffer_info()[0] for kind in ("weight", "bias"))
        library().float_convolution(ctypes.byref(given), source.address, weights, bias, target.address)
        return target


def _read_by(part: NetworkPart) -> tuple[int, ...]:
    """The places of the feature maps that a part names."""
    if isinstance(part, GraphPooling):
        return (part.source,)
    if isinstance(part, GraphLayers):
        return (part.source,) if part.added is None else (part.source, part.added)
    return ()


def _empty(channels: int, side: int) -> _FloatMap:
    return _FloatMap(channels, side, array("f", bytes(4 * channels * side**2)))


def _pooled(source: _FloatMap, size: int) -> _FloatMap:
    side = -(-(source.side - size) // 2) + 1
    target = _empty(source.channels, side)
    given = _Layer(source.channels, source.side, source.side, source.channels, side, side, size, 2, 0, 0, 0)
    library().float_pooling(ctypes.byref(given), source.address, target.address)
    return target


def _sum(one: _FloatMap, other: _FloatMap) -> _FloatMap:
    target = _empty(one.channels, one.side)
    library().float_sum(one.address, other.address, len(one.floats), target.address)
    return target


def _joined(parts: list[_FloatMap]) -> _FloatMap:
    """Their channels, one map's after the other's."""
    floats = array("f")
    for part in parts:
        floats.extend(part.floats)
    return _FloatMap(sum(part.channels for part in parts), parts[0].side, floats)


def _rectified(source: _FloatMap, most: float) -> _FloatMap:
    return _FloatMap(source.channels, source.side, array("f", (min(max(each, 0.0), most) for each in source.floats)))


def _means(source: _FloatMap) -> list[float]:
    # Not math.fsum, which raises an error where both infinities are added.
    return [sum(source.channel(number)) / source.side**2 for number in range(source.channels)]
