"""When a picture's answer comes: rows of feature maps, one after the other, through an empty circuit."""

from __future__ import annotations

from collections.abc import Mapping

from squeezekit.export.fpga.circuit import Circuit
from squeezekit.export.fpga.memories import is_by_pixel

# Cycles of the registers between a convolution's first word and its byte, and of a logit's multiplication bit by bit.
PIPELINE, LOGIT = 16, 36
# Cycles in which a window finds out which rows its next line needs.
LINE = 4
Rows = list[tuple[int, int]]


def latency_of(circuit: Circuit, cycles: Mapping[int, int]) -> int:
    """Cycles from a picture's first byte to its last logit, no other picture being there; `cycles` a picture by step."""
    return _Rows(circuit, cycles).answer()


class _Rows:
    """The cycles in which the first and the last byte of each row of each feature map come."""

    def __init__(self, circuit: Circuit, cycles: Mapping[int, int]) -> None:
        self._circuit, self._cycles = circuit, cycles
        image = circuit.map(0)
        row = image.width * image.channels
        self._rows: dict[int, Rows] = {0: [(y * row, (y + 1) * row) for y in range(image.height)]}
        for index in range(1, len(circuit.plan.feature_maps)):
            self._rows[index] = self._made(index)

    def answer(self) -> int:
        """Of the last logit."""
        head, number = self._circuit.head, len(self._circuit.plan.steps) - 1
        return self._rows[head.source][-1][1] + self._cycles[number] + PIPELINE + LOGIT

    def _made(self, index: int) -> Rows:
        maker = self._circuit.makers[index]
        parts = [self._convolved(number) for number in maker.convolutions] or [self._rows[maker.source]]
        made = [(max(begin for begin, _ in rows), max(end for _, end in rows)) for rows in zip(*parts, strict=True)]
        if maker.size:
            last = [min(2 * y + maker.size, len(made)) - 1 for y in range(self._circuit.map(index).height)]
            made = [(made[y][0], made[y][1]) for y in last]
        if maker.residual:
            others = self._rows[maker.residual.source]
            made = [(max(one[0], other[0]), max(one[1], other[1])) for one, other in zip(made, others, strict=True)]
        return made

    def _convolved(self, number: int) -> Rows:
        step = self._circuit.convolution(number)
        source, (height, _width) = self._rows[step.source], self._circuit.plan.sum_shape(step)
        took, free, made = self._cycles[number] // height, 0, Rows()
        for y in range(height):
            last = source[min(y * step.stride - step.padding + max(step.kernel, step.stride), len(source)) - 1]
            begin = max(free, last[0] if is_by_pixel(step) else last[1] + LINE)
            free = begin + took + (0 if is_by_pixel(step) else LINE)
            if is_by_pixel(step):
                free = max(free, last[1])
            made.append((begin + PIPELINE, free + PIPELINE))
        return made
