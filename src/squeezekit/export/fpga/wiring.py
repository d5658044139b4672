"""A drawing of a circuit: its modules from top to bottom, the streams between them."""

from __future__ import annotations

from html import escape

from squeezekit.export.fpga.circuit import Circuit
from squeezekit.export.fpga.planner import CircuitPlan
from squeezekit.integer.plan import IntegerConvolution

STEP, WIDTH, BOX = 64, 720, (230, 40)
CENTER = WIDTH // 2
# Readable on light and on dark pages.
STYLE = """
  text { font: 12px sans-serif; fill: #1f2328; text-anchor: middle }
  .small { font-size: 10px; fill: #57606a }
  rect { fill: #eef4fb; stroke: #3b6ea8; stroke-width: 1.2; rx: 5 }
  .join { fill: #f6f0e4; stroke: #9a6b1f }
  path { fill: none; stroke: #57606a; stroke-width: 1.4; marker-end: url(#tip) }
  .queue { stroke-dasharray: 5 3 }
  #tip path { fill: #57606a; stroke: none; marker-end: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9da7b3 } rect { fill: #16263a; stroke: #6ea8e6 }
    .join { fill: #33270f; stroke: #d9a441 } path { stroke: #9da7b3 } #tip path { fill: #9da7b3 }
  }"""


def wiring_svg(circuit: Circuit, planned: CircuitPlan) -> str:
    """As SVG: a row for each feature map, convolutions side by side whose channels are joined, queues dashed."""
    drawing = _Drawing(circuit, planned)
    body = drawing.body()
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {drawing.height}" role="img">
<title>The modules of the circuit and the streams between them</title>
<style>{STYLE}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z"/></marker></defs>
{body}
</svg>
"""


class _Drawing:
    """Boxes from top to bottom."""

    def __init__(self, circuit: Circuit, planned: CircuitPlan) -> None:
        self._circuit, self._planned = circuit, planned
        self._parts: list[str] = []
        self._ends: dict[int, tuple[int, int]] = {}
        self.height = 12

    def body(self) -> str:
        """All elements."""
        image = self._circuit.map(0)
        self._ends[0] = (CENTER, self._box(CENTER, "picture", f"{image.height} x {image.width} x {image.channels} bytes", "join"))
        self._row()
        for index in range(1, len(self._circuit.plan.feature_maps)):
            self._map(index)
        head = self._circuit.head
        number = len(self._circuit.plan.steps) - 1
        self._line(head.source, CENTER, self._circuit.readers[head.source][-1].queue)
        end = self._box(CENTER, "head: average, logits", self._work(number))
        self._row()
        self._parts.append(f'<path d="M{CENTER} {end} {CENTER} {self.height}"/>')
        self._parts.append(f'<text x="{CENTER}" y="{self.height + 16}">logits</text>')
        self._row()
        return "\n".join(self._parts)

    def _map(self, index: int) -> None:
        maker, shape = self._circuit.makers[index], self._circuit.map(index)
        places = [CENTER + (2 * i - len(maker.convolutions) + 1) * (BOX[0] // 2 + 10) for i in range(len(maker.convolutions))]
        bottoms = []
        for number, x in zip(maker.convolutions, places, strict=True):
            step = self._circuit.convolution(number)
            self._line(step.source, x, self._queue(step.source, number, adds=False))
            bottoms.append((x, self._box(x, self._name(number, step), self._work(number))))
        size = f"{shape.height} x {shape.width} x {shape.channels}"
        joins = [word for word, there in self._joins(index) if there]
        if not joins:
            self._ends[index] = bottoms[0]
            self._row()
            return
        if bottoms:
            self._row()
            for x, y in bottoms:
                self._parts.append(f'<path d="M{x} {y} {x} {self.height}"/>')
        else:
            self._line(maker.source, CENTER, 0)
        if maker.residual:
            queue = self._queue(maker.residual.source, maker.number, adds=True)
            self._line(maker.residual.source, CENTER, queue, aside=True)
        self._ends[index] = (CENTER, self._box(CENTER, ", ".join(joins), size, "join"))
        self._row()

    def _joins(self, index: int) -> list[tuple[str, bool]]:
        maker = self._circuit.makers[index]
        pooling = f"max-pooling of {maker.size} x {maker.size}"
        return [("concat", len(maker.convolutions) > 1), (pooling, maker.size > 0), ("add", maker.residual is not None)]

    def _name(self, number: int, step: IntegerConvolution) -> str:
        return f"step {number}: {step.kernel} x {step.kernel} convolution, {len(step.weights)} filters"

    def _work(self, number: int) -> str:
        parallel = self._planned.parallel[number]
        return f"{parallel.filters} x {parallel.lanes} multipliers, {self._planned.cycles_by_step[number]:,} cycles"

    def _queue(self, source: int, number: int, *, adds: bool) -> int:
        readers = self._circuit.readers[source]
        return next(reader.queue for reader in readers if (reader.number, reader.adds) == (number, adds))

    def _box(self, x: int, title: str, text: str, kind: str = "step") -> int:
        """At the current height; returns where it ends."""
        top, (width, height) = self.height, BOX
        self._parts.append(f'<rect class="{kind}" x="{x - width // 2}" y="{top}" width="{width}" height="{height}"/>')
        self._parts.append(f'<text x="{x}" y="{top + 17}">{escape(title)}</text>')
        self._parts.append(f'<text class="small" x="{x}" y="{top + 32}">{escape(text)}</text>')
        return top + height

    def _line(self, source: int, x: int, queue: int, *, aside: bool = False) -> None:
        """From a feature map to the box at the current height; `aside` around what lies between."""
        left, top = self._ends[source]
        kind = ' class="queue"' if queue else ""
        if aside:
            edge = WIDTH - 60
            way = f"M{left + 60} {top} C{edge} {top + 10} {edge} {self.height + 20} {CENTER + BOX[0] // 2} {self.height + 20}"
            self._parts.append(f'<text class="small" x="{edge - 10}" y="{(top + self.height) // 2}">queue of {queue:,}</text>')
        else:
            way = f"M{left} {top} {x} {self.height}"
            if queue:
                self._parts.append(f'<text class="small" x="{x - 70}" y="{self.height - 6}">queue of {queue:,}</text>')
        self._parts.append(f'<path{kind} d="{way}"/>')

    def _row(self) -> None:
        self.height += STEP
