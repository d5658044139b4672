"""What a network that can be computed in integers consists of, from the fields and the shapes of weights that a file holds.

Nothing here needs PyTorch or NumPy: a device reads files by it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..system.errors import SqueezekitError
from .graph_structure import graph_structure
from .parts import (
    BlockLayers,
    ConvolutionLayer,
    FireLayers,
    GraphLayers,
    NetworkPart,
    PoolingLayer,
    Shape,
    Structure,
    not_its_own,
)
from .stored_fields import StoredFields, StoredWeights, damaged


def structure_of(network: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Structure:
    """The structure of a network of these fields, as its configuration has them, and these parameters.

    Raises SqueezekitError for a network that has no integer form, and for fields and parameters that do not go together.
    """
    families = {"base_e": _squeezenet, "widths": _staged, "nodes": graph_structure}
    by_fields = (families[field] for field in families if field in network)
    family = _resnet8 if network.get("name") == "resnet8" else next(by_fields, None)
    if family is None:
        raise SqueezekitError(f"a network '{str(network.get('name'))[:60]}' has no integer form; export it to ONNX instead")
    fields, weights = StoredFields(network), StoredWeights(shapes)
    found = family(fields, weights)
    if weights.left or found.classifier.filters != found.classes or found.classifier.kernel != 1:
        raise not_its_own()
    return found


def _squeezenet(fields: StoredFields, weights: StoredWeights) -> Structure:
    stride, pooling = fields.whole("stem_stride", 1, 4, 1), PoolingLayer(fields.whole("pool_size", 2, 3, 2))
    bypass = fields.word("bypass", "none")
    stem = weights.take("features.0")
    parts: list[NetworkPart] = [_padded(stem, stride) if stride == 1 else ConvolutionLayer(stem.name, stem.shape, stride)]
    # Modules and poolings are numbered one after the other; a pooling has no weights.
    number = 2
    while weights.has(f"features.{number}.squeeze") or weights.has(f"features.{number + 1}.squeeze"):
        name = f"features.{number}"
        parts.append(_fire(weights, name, bypass) if weights.has(f"{name}.squeeze") else pooling)
        number += 1
    return Structure(
        *fields.image(),
        parts=tuple(parts),
        classifier=weights.take("classifier.1"),
        rectified=fields.flag("head_relu"),
        mirrored=fields.flag("mirrored"),
    )


def _fire(weights: StoredWeights, name: str, bypass: str) -> FireLayers:
    squeeze = weights.take(f"{name}.squeeze")
    branches = [_padded(weights.take(f"{name}.{branch}")) for branch in ("expand1x1", "expand3x3")]
    through = weights.take(f"{name}.bypass") if weights.has(f"{name}.bypass") else None
    same = squeeze.shape[1] == sum(branch.filters for branch in branches)
    return FireLayers(squeeze, tuple(branches), through, through is None and bypass != "none" and same)


def _staged(fields: StoredFields, weights: StoredWeights) -> Structure:
    kind, pooled = fields.word("block", "inverted"), fields.flag("pooled", True)
    stem = weights.take("stem")
    parts: list[NetworkPart] = [stem if fields.word("stem", "learned") == "whitened" else _padded(stem)]
    for number, halved in enumerate(fields.halvings()):
        stride = 2 if halved and (kind == "inverted" or not pooled) else 1
        parts.append(_block(weights, f"blocks.{number}", kind, stride, halved))
        if halved and pooled and kind != "inverted":
            parts.append(PoolingLayer(3))
    largest = fields.word("last", "mean") == "max"
    return Structure(*fields.image(), parts=tuple(parts), classifier=weights.take("classifier", linear=True), largest=largest)


def _block(weights: StoredWeights, name: str, kind: str, stride: int, halved: bool) -> NetworkPart:
    if kind == "plain":
        return _padded(weights.take(f"{name}.convolution"), stride)
    if kind == "fire":
        first, last = weights.take(f"{name}.squeeze"), _padded(weights.take(f"{name}.expand"), stride)
        inner: tuple[ConvolutionLayer, ...] = (first,)
    elif kind == "inverted":
        first, last = weights.take(f"{name}.expand"), weights.take(f"{name}.project")
        inner = (first, _padded(weights.take(f"{name}.depthwise"), stride, depthwise=True))
    else:
        raise damaged("block")
    return BlockLayers(inner, last, not halved and first.shape[1] == last.filters, kind == "fire")


def _resnet8(fields: StoredFields, weights: StoredWeights) -> Structure:
    parts = [GraphLayers(0, (_padded(_sized(weights, "stem", 3)),), True)]
    for number in range(3):
        source, name = len(parts), f"blocks.{number}"
        first = _sized(weights, f"{name}.conv1", 3)
        added, stride = source, 1 if first.shape[1] == first.filters else 2
        if stride == 2:
            parts.append(GraphLayers(source, (replace(_sized(weights, f"{name}.shortcut", 1), stride=2),)))
            added = len(parts)
        parts.append(GraphLayers(source, (_padded(first, stride),), True))
        parts.append(GraphLayers(len(parts), (_padded(_sized(weights, f"{name}.conv2", 3)),), True, added=added))
    return Structure(*fields.image(), parts=tuple(parts), classifier=weights.take("classifier", linear=True))


def _sized(weights: StoredWeights, name: str, kernel: int) -> ConvolutionLayer:
    layer = weights.take(name)
    if layer.kernel != kernel:
        raise not_its_own()
    return layer


def _padded(layer: ConvolutionLayer, stride: int = 1, depthwise: bool = False) -> ConvolutionLayer:
    return ConvolutionLayer(layer.name, layer.shape, stride, layer.kernel // 2, depthwise)
