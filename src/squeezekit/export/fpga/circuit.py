"""The circuit of a plan: every step a module of its own, feature maps as streams of bytes between them.

All modules work at the same time, on one picture after the other (a dataflow architecture: Umuroglu et al., 2017, FINN, arXiv
1612.07119). A stream that two modules read is forked; where its ways meet again, queues hold the rows by which one is ahead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from squeezekit.integer.plan import (
    LOW_BITS,
    FeatureMap,
    IntegerConvolution,
    IntegerHead,
    IntegerPlan,
    IntegerPooling,
    IntegerResidual,
)
from squeezekit.system.errors import SqueezekitError


@dataclass(frozen=True)
class Multiplication:
    """What multiplies weights in a step: a convolution's filters, or the head's.

    number: of the step in the plan. Each of `outputs` sums, `positions` times a picture, adds `taps` times `channels` products of
    weights of `bits` bits and values of `data` bits. sum_bits holds every sum, total_bits a sum and its bias, both signed.
    """

    number: int
    outputs: int
    positions: int
    taps: int
    channels: int
    data: int
    bits: int
    sum_bits: int
    total_bits: int
    gain_bits: int

    @property
    def macs(self) -> int:
        """Products for one picture."""
        return self.outputs * self.positions * self.taps * self.channels


@dataclass(frozen=True)
class Maker:
    """How a feature map is made: convolutions, whose channels are joined in this order, then pooled, then added to a bypass.

    `number` is its first step. A pooling alone has no convolutions. `size` is the side of the pooling's windows, 0 without.
    """

    number: int
    convolutions: tuple[int, ...]
    source: int
    size: int
    residual: IntegerResidual | None


@dataclass(frozen=True)
class Reader:
    """What reads a feature map: step `number`, or, with `adds`, the addition that completes feature map `target`.

    `queue` bytes wait in front of it; 0 for no queue. The head has no target.
    """

    number: int
    target: int | None
    adds: bool
    queue: int = 0


class Circuit:
    """Modules and streams of a plan; raises SqueezekitError, naming the step, for what has no module."""

    def __init__(self, plan: IntegerPlan) -> None:
        self.plan = plan
        _check(plan)
        self.makers = {target: self._maker(target) for target in range(1, len(plan.feature_maps))}

    @property
    def head(self) -> IntegerHead:
        """The last step."""
        last = self.plan.steps[-1]
        assert isinstance(last, IntegerHead)
        return last

    def map(self, index: int) -> FeatureMap:
        """A feature map of the plan."""
        return self.plan.feature_maps[index]

    def convolution(self, number: int) -> IntegerConvolution:
        """A step that is one."""
        step = self.plan.steps[number]
        assert isinstance(step, IntegerConvolution)
        return step

    def before_pooling(self, index: int) -> tuple[int, int]:
        """Height and width of what a feature map's pooling reads."""
        maker = self.makers[index]
        if maker.convolutions:
            return self.plan.sum_shape(self.convolution(maker.convolutions[0]))
        return self.map(maker.source).height, self.map(maker.source).width

    @cached_property
    def multiplications(self) -> tuple[Multiplication, ...]:
        """Those of all steps that multiply, in the plan's order."""
        return tuple(self._multiplications())

    @cached_property
    def readers(self) -> dict[int, tuple[Reader, ...]]:
        """By feature map, what reads it, with queues."""
        found: dict[int, list[Reader]] = defaultdict(list)
        for number, step in enumerate(self.plan.steps):
            found[step.source].append(Reader(number, None if isinstance(step, IntegerHead) else step.target, False))
        for target, maker in self.makers.items():
            if maker.residual:
                found[maker.residual.source].append(Reader(maker.number, target, True))
        return {index: self._queued(index, tuple(readers)) for index, readers in found.items()}

    def _maker(self, target: int) -> Maker:
        steps = [(number, step) for number, step in enumerate(self.plan.steps) if getattr(step, "target", None) == target]
        if isinstance(steps[0][1], IntegerPooling):
            return Maker(steps[0][0], (), steps[0][1].source, steps[0][1].size, None)
        parts = sorted(((step.first, number) for number, step in steps if isinstance(step, IntegerConvolution)))
        numbers = tuple(number for _first, number in parts)
        convolutions = [self.convolution(number) for number in numbers]
        first = convolutions[0]
        if any((one.pooled, one.residual) != (first.pooled, first.residual) for one in convolutions):
            raise SqueezekitError(f"{_named(numbers[1])}: is not completed as the step beside it; use --format c")
        return Maker(numbers[0], numbers, first.source, 2 if first.pooled else 0, first.residual)

    def _multiplications(self) -> Iterator[Multiplication]:
        for number, step in enumerate(self.plan.steps):
            if isinstance(step, IntegerPooling):
                continue
            bits = int(np.abs(step.weights.astype(np.int64)).max()).bit_length() + 1
            bounds = 255 * np.abs(step.weights.reshape(len(step.weights), -1).astype(np.int64)).sum(1)
            sums, totals = int(bounds.max()), int((bounds + np.abs(step.bias)).max())
            outputs, source = len(step.weights), self.map(step.source)
            if isinstance(step, IntegerConvolution):
                height, width = self.plan.sum_shape(step)
                taps, channels = step.kernel**2, source.channels
                positions, data, gain = height * width, 8, int(step.gain.max()).bit_length()
            else:
                positions, taps, channels, gain = 1, 1, source.channels, 31
                mean = ((255 * source.height * source.width) >> step.drop) + 1
                data = mean.bit_length()
                no_bytes = np.abs(step.weights.astype(np.int64)).sum(1) * mean
                sums, totals = int(no_bytes.max()), int((no_bytes + np.abs(step.bias)).max())
            widths = (data, max(bits, 2), sums.bit_length() + 1, totals.bit_length() + 1, max(gain, 1))
            yield Multiplication(number, outputs, positions, taps, channels, *widths)

    def _queued(self, index: int, readers: tuple[Reader, ...]) -> tuple[Reader, ...]:
        """Readers with queues: what has to wait for another one's rows holds these."""
        row = self.map(index).width * self.map(index).channels
        depths = [0] * len(readers)
        for i, one in enumerate(readers):
            for other in readers[:i] + readers[i + 1 :]:
                target = self._meeting(one, other)
                if target is None:
                    continue
                ahead = max(
                    self._rows(target, y, index, other) - self._rows(target, y, index, one)
                    for y in range(self.map(target).height)
                )
                if ahead > 0:
                    depths[i] = max(depths[i], _rows_queued(ahead + 1, row) * row)
        return tuple(replace(reader, queue=depth) for reader, depth in zip(readers, depths, strict=True))

    def _meeting(self, one: Reader, other: Reader) -> int | None:
        """The first feature map that is made of what both give."""
        both = self._reached(one) & self._reached(other)
        return min(both, default=None)

    def _reached(self, reader: Reader) -> set[int]:
        if reader.target is None:
            return set()
        found = {reader.target}
        for target in range(reader.target + 1, len(self.plan.feature_maps)):
            if any(source in found for source in self._sources(target)):
                found.add(target)
        return found

    def _sources(self, target: int) -> list[int]:
        maker = self.makers[target]
        found = [self.convolution(number).source for number in maker.convolutions] or [maker.source]
        return [*found, maker.residual.source] if maker.residual else found

    def _rows(self, target: int, y: int, origin: int, reader: Reader) -> int:
        """How many rows of `origin` have to come, by way of one reader, before row y of `target` can begin; 0 for none."""

        @cache
        def rows(target: int, y: int) -> int:
            maker = self.makers[target]
            last = y if not maker.size else min(2 * y + maker.size, self.before_pooling(target)[0]) - 1
            wanted = []
            if not maker.convolutions:
                wanted.append((maker.source, last, reader.target == target and not reader.adds))
            for number in maker.convolutions:
                step = self.convolution(number)
                under = max(step.kernel, step.stride)
                bottom = min(last * step.stride - step.padding + under, self.map(step.source).height) - 1
                wanted.append((step.source, bottom, reader.number == number and not reader.adds))
            if maker.residual:
                wanted.append((maker.residual.source, y, reader.target == target and reader.adds))
            counts = [0]
            for source, row, is_reader in wanted:
                if source == origin:
                    counts.append(row + 1 if is_reader else 0)
                elif source > origin:
                    counts.append(rows(source, row))
            return max(counts)

        return rows(target, y)


def _rows_queued(least: int, row: int) -> int:
    """So many rows of `row` bytes, or one more where that takes no more blocks of 2,048 bytes."""
    return least + (-(-least * row // 2048) == -(-(least + 1) * row // 2048))


def rescaling_shift(step: IntegerConvolution) -> int:
    """By how many bits a convolution's products with gains are shifted."""
    return LOW_BITS + step.shift


def _check(plan: IntegerPlan) -> None:
    if plan.mirrored:
        raise SqueezekitError(
            "the network looks at each picture's mirror image too, which --format fpga does not; use --format c"
        )
    for number, step in enumerate(plan.steps):
        problem = None
        if isinstance(step, IntegerConvolution) and step.depthwise:
            problem = "a depthwise convolution"
        elif isinstance(step, IntegerHead) and step.relu:
            problem = "a head with ReLU"
        elif isinstance(step, IntegerConvolution) and step.stride > 2:
            problem = f"a convolution of stride {step.stride}"
        elif isinstance(step, IntegerConvolution) and step.residual and step.residual.source == step.source:
            problem = "a convolution added to what it reads"
        if problem:
            raise SqueezekitError(f"{_named(number)} is {problem}, for which --format fpga has no module; use --format c")


def _named(number: int) -> str:
    return f"step {number}"
