"""A plan as a QONNX graph: ONNX whose tensors between layers hold the plan's integers, as floats, behind Quant nodes.

A feature map is [1, channels, height, width] of bytes 0…255, a weight a whole number of its layer's fewest bits; each Quant has
scale 1 and zero point 0 and rounds halves to even, the form that FINN and hls4ml take. Quant: Pappalardo et al., 2022, arXiv
2206.07527, section 3; https://github.com/fastmachinelearning/qonnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.integer.plan import LOW_BITS, IntegerConvolution, IntegerHead, IntegerPlan, IntegerPooling
from squeezekit.system.errors import SqueezekitError

DOMAIN, DOMAIN_VERSION, OPSET = "qonnx.custom_op.general", 1, 13
IMAGES, LOGITS = "images", "logits"
MOST_BYTE = 255
# By how many of the last digits of a float32 a multiplier may differ from the plan's, the nearest first.
DIGITS = sorted(range(-8, 9), key=abs)
Floats = NDArray[np.float32]


def graph_of(plan: IntegerPlan) -> Any:
    """The graph as an `onnx.ModelProto`: pixels 0…255, float [1, channels, side, side] -> logits, float [1, classes].

    Raises SqueezekitError for networks that see an image twice.
    """
    if plan.mirrored:
        raise SqueezekitError("a network that classifies an image and its mirror image has no QONNX form; export to C")
    return _Walk(plan).model()


class _Walk:
    """From step to step of a plan; nodes and tensors are known by their names."""

    def __init__(self, plan: IntegerPlan) -> None:
        self._plan = plan
        self._nodes, self._constants = list[Any](), list[Any]()
        self._shapes: dict[str, tuple[int, ...]] = {IMAGES: self._shape(0)}
        self._maps = {0: self._quantized("pixels", IMAGES, 8)}
        # The parts of a feature map whose channels several convolutions make.
        self._parts = list[str]()
        for number, step in enumerate(plan.steps):
            if isinstance(step, IntegerConvolution):
                self._convolution(f"layer{number}", step)
            elif isinstance(step, IntegerPooling):
                self._maps[step.target] = self._pooled(f"layer{number}", self._maps[step.source], step.target, step.size)
            elif isinstance(step, IntegerHead):
                self._head(step)

    def model(self) -> Any:
        """The whole, with the shape of every tensor, which tools cannot infer through Quant."""
        from onnx import TensorProto, helper

        infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self._shapes.items()}
        ends = [infos.pop(IMAGES)], [infos.pop(LOGITS)]
        graph = helper.make_graph(self._nodes, "squeezekit", *ends, self._constants, value_info=list(infos.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
        return helper.make_model(
            graph, opset_imports=opsets, producer_name="squeezekit", ir_version=helper.find_min_ir_version_for(opsets[:1])
        )

    def _shape(self, index: int, **changed: int) -> tuple[int, ...]:
        """Of a feature map of the plan, but for what is `changed`."""
        here = self._plan.feature_maps[index]
        return (1, *{"channels": here.channels, "height": here.height, "width": here.width, **changed}.values())

    def _constant(self, name: str, content: Any) -> str:
        from onnx import numpy_helper

        array = np.asarray(content, np.float32)
        self._constants.append(numpy_helper.from_array(array, name))
        self._shapes[name] = array.shape
        return name

    def _add(self, kind: str, name: str, inputs: Sequence[str], shape: Sequence[int], **attributes: Any) -> str:
        """One more node, by the name of its output; returns it."""
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        self._shapes[name] = tuple(shape)
        return name

    def _with(self, kind: str, name: str, source: str, content: Any) -> str:
        """A tensor plus, minus or times constants, which do not change its shape."""
        return self._add(kind, name, [source, self._constant(f"{name}_by", content)], self._shapes[source])

    def _normalized(self, name: str, source: str, factors: NDArray[Any] | None = None, means: NDArray[Any] | None = None) -> str:
        """Each channel less its mean, times its factor; tools know no other node with a number for each channel."""
        channels = self._shapes[source][1]
        ones, zeros = np.ones(channels), np.zeros(channels)
        parts = {"factors": ones if factors is None else factors, "zeros": zeros, "means": zeros if means is None else means}
        constants = [self._constant(f"{name}_{part}", content) for part, content in {**parts, "variances": ones}.items()]
        return self._add("BatchNormalization", name, [source, *constants], self._shapes[source], epsilon=0.0)

    def _quantized(self, name: str, source: str, bits: int, signed: bool = False) -> str:
        """Whole numbers of so many bits; signed ones reach as far below zero as above."""
        settings = [self._constant(f"{name}_{part}", number) for part, number in (("scale", 1), ("zero", 0), ("bits", bits))]
        kinds = {"signed": int(signed), "narrow": int(signed), "rounding_mode": "ROUND"}
        return self._add("Quant", name, [source, *settings], self._shapes[source], domain=DOMAIN, **kinds)

    def _weights(self, name: str, weights: NDArray[np.int8]) -> str:
        bits = max(int(np.abs(weights.astype(np.int64)).max()).bit_length() + 1, 2)
        return self._quantized(f"{name}_weights", self._constant(f"{name}_weights_as_floats", weights), bits, signed=True)

    def _convolution(self, name: str, step: IntegerConvolution) -> None:
        filters, (height, width) = step.filters, self._plan.sum_shape(step)
        shape = (1, filters, height, width)
        groups = filters if step.depthwise else 1
        made = self._add(
            "Conv", f"{name}_sums", self._filters(name, step), shape, **_window(step.kernel, step.stride, step.padding, groups)
        )
        made = self._normalized(f"{name}_rescaled", made, factors=multipliers(step))
        made = self._quantized(f"{name}_bytes", made, 8)
        # Gains are not negative: the largest of bytes is that of the largest sum.
        self._parts.append(self._pooled(f"{name}_max", made, step.target, 2, filters) if step.pooled else made)
        if step.first + filters < self._plan.feature_maps[step.target].channels:
            return
        parts, self._parts = self._parts, []
        joined = self._add("Concat", f"{name}_joined", parts, self._shape(step.target), axis=1) if len(parts) > 1 else parts[0]
        self._maps[step.target] = self._with_bypass(name, step, joined)

    def _filters(self, name: str, step: IntegerConvolution) -> list[str]:
        """A convolution's inputs. Nodes pad with zeros: where other bytes are around the source, these are taken off before."""
        source, bias = self._maps[step.source], step.bias.astype(np.float64)
        if step.padding and any(step.border):
            source = self._normalized(f"{name}_centred", source, means=np.array(step.border))
            source = self._quantized(f"{name}_differences", source, 9, signed=True)
            border = np.broadcast_to(np.array(step.border), (*step.weights.shape[:3], len(step.border)))
            border = border[np.arange(step.filters), ..., np.arange(step.filters)][..., None] if step.depthwise else border
            bias = bias + (step.weights.astype(np.int64) * border).sum((1, 2, 3))
        return [source, self._weights(name, step.weights.transpose(0, 3, 1, 2)), self._constant(f"{name}_bias", bias)]

    def _with_bypass(self, name: str, step: IntegerConvolution, made: str) -> str:
        residual = step.residual
        if residual is None:
            return made
        most = max(((MOST_BYTE * residual.gain + residual.offset) >> residual.shift) - residual.below, residual.below)
        # Rounded down, by what is half a step less half of the last digit.
        offset = (residual.offset + 0.5) * 2.0**-residual.shift - 0.5 - residual.below
        added = self._with("Mul", f"{name}_bypass", self._maps[residual.source], residual.gain * 2.0**-residual.shift)
        added = self._with("Add", f"{name}_bypass_offset", added, offset)
        signed = residual.below > 0
        added = self._quantized(f"{name}_bypass_bytes", added, max(most.bit_length(), 1) + signed, signed)
        return self._quantized(f"{name}_out", self._add("Add", f"{name}_added", [made, added], self._shapes[made]), 8)

    def _pooled(self, name: str, source: str, target: int, size: int, channels: int | None = None) -> str:
        """Max-pooling of stride 2, whose windows begin at the first byte and are cut off at the last."""
        shape = self._shape(target, **({} if channels is None else {"channels": channels}))
        cut = self._shapes[source][2] != (shape[2] - 1) * 2 + size
        return self._add("MaxPool", name, [source], shape, **_sides(size, 2, 0), ceil_mode=int(cut))

    def _head(self, head: IntegerHead) -> None:
        source = self._plan.feature_maps[head.source]
        positions, classes = source.height * source.width, head.filters
        logit = 2.0**-self._plan.fraction
        if head.relu:
            shape = (1, classes, source.height, source.width)
            weights = self._weights("head", head.weights[:, :, None, None])
            inputs = [self._maps[head.source], weights, self._constant("head_bias", head.bias)]
            made = self._add("Conv", "head_sums", inputs, shape, **_window(1))
            made = self._normalized("head_rescaled", made, factors=head.gain * 2.0**-head.shift)
            made = self._summed("scores", self._quantized("head_scores", made, 32), positions, 32)
            flat = self._add("Flatten", "flat", [made], (1, classes), axis=1)
            self._with("Mul", LOGITS, flat, logit)
            return
        made = self._summed("sums", self._maps[head.source], positions, (MOST_BYTE * positions).bit_length())
        if head.drop:
            made = self._with("Mul", "sums_shifted", made, 2.0**-head.drop)
            # Halves up.
            made = self._with("Add", "sums_halves", made, 2.0 ** -(head.drop + 1))
            made = self._quantized("sums_dropped", made, (MOST_BYTE * positions).bit_length())
        flat = self._add("Flatten", "flat", [made], (1, source.channels), axis=1)
        made = self._add("MatMul", "head_sums", [flat, self._weights("head", head.weights.T)], (1, classes))
        made = self._with("Add", "head_biased", made, head.bias)
        self._with("Mul", LOGITS, made, head.gain * 2.0**-head.shift * logit)

    def _summed(self, name: str, source: str, positions: int, bits: int) -> str:
        """Sums over positions, [1, channels, 1, 1]: means, which tools know, times their number, in whole numbers again."""
        shape = (*self._shapes[source][:2], 1, 1)
        mean = self._add("GlobalAveragePool", f"{name}_mean", [source], shape)
        return self._quantized(name, self._with("Mul", f"{name}_times", mean, positions), bits)


def _sides(size: int, stride: int, padding: int) -> dict[str, Any]:
    """Attributes of windows; tools ask for those too that have defaults."""
    return {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [padding] * 4}


def _window(size: int, stride: int = 1, padding: int = 0, groups: int = 1) -> dict[str, Any]:
    return {**_sides(size, stride, padding), "dilations": [1, 1], "group": groups}


def multipliers(step: IntegerConvolution) -> Floats:
    """By what sums are multiplied, [filters], so that products round to the plan's bytes.

    Products of float32 are rounded themselves. Of the numbers beside the plan's own that one is taken that moves none of the sums
    at which a byte becomes larger, or as few as can be: where sums reach hundreds of thousands, one or two of 255 are left.
    """
    bits, bytes = LOW_BITS + step.shift, np.arange(1, MOST_BYTE + 1, dtype=np.int64)
    # The least sum of each byte, [filters, bytes], as far as sums go.
    least = -(-((bytes << bits) - (1 << (bits - 1))) // np.maximum(step.gain, 1)[:, None])
    weights = step.weights.reshape(step.filters, -1).astype(np.int64)
    reached = least <= (MOST_BYTE * np.maximum(weights, 0).sum(1) + step.bias)[:, None]
    own = (np.maximum(step.gain, 1) * 2.0**-bits).astype(np.float32)
    tried = np.stack([(own.view(np.int32) + digits).view(np.float32) for digits in DIGITS])
    above, below = (np.rint(sums.astype(np.float32) * tried[:, :, None]) for sums in (least, least - 1))
    moved = (((above < bytes) | (below >= bytes)) & reached).sum(2)
    found: Floats = tried[moved.argmin(0), np.arange(step.filters)]
    return np.where(step.gain > 0, found, np.float32(0))
