"""Draws the pictures of docs/explanations from the pretrained models: what their files hold and what the planner plans.

python scripts/explanation_pictures.py [--out docs/explanations]
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from html import escape
from pathlib import Path

from squeezekit.codec.encodings import Quantized
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.memory import MemoryPlanner
from squeezekit.integer.plan import IntegerPlan, IntegerPooling
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.pretrained.files import model_path

MODEL = "cifar10-nano"
# Readable in light and dark, wherever the picture is shown.
STYLE = (
    "text{font:13px sans-serif;fill:#1c2733}.small{font-size:11px;fill:#5b6b7b}.kept{fill:#2f6fb0}.whole{fill:#d5dde5}"
    ".box{fill:#eef2f6;stroke:#5b6b7b}.line{stroke:#5b6b7b;fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#e3e9ef}.small{fill:#a9b7c4}.kept{fill:#6aa9e6}.whole{fill:#3a4652}"
    ".box{fill:#26303a;stroke:#a9b7c4}.line{stroke:#a9b7c4}}"
)


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/explanations"))
    folder = parser.parse_args().out
    (folder / "fire.svg").write_text(fire(128, 16, 64, 64), encoding="utf-8")
    (folder / "rounding.svg").write_text(rounding(), encoding="utf-8")
    (folder / "rows.svg").write_text(rows(integer_plan(load_model(MODEL))), encoding="utf-8")


def fire(channels: int, squeezed: int, expand_1x1: int, expand_3x3: int) -> str:
    """A Fire module beside one layer of 3×3 filters, with as many channels in and out, and their weights."""
    plain = 9 * channels * (expand_1x1 + expand_3x3)
    parts = channels * squeezed, squeezed * expand_1x1, 9 * squeezed * expand_3x3
    shapes = [
        _text(20, 26, f"3×3 filters: {plain:,} weights"),
        *_block(20, 60, 110, channels, "channels"),
        _line(135, 115, 205, 115),
        *_block(210, 60, 110, expand_1x1 + expand_3x3, "channels"),
        _text(380, 26, f"Fire module: {sum(parts):,} weights, {plain / sum(parts):.0f} times fewer"),
        *_block(380, 60, 110, channels, "channels"),
        _line(495, 115, 545, 115),
        '<rect class="box" x="550" y="98" width="30" height="34" rx="3"/>',
        _text(565, 150, f"{squeezed}", middle=True),
        _text(565, 165, "squeezed", "small", middle=True),
        _line(585, 110, 669, 85),
        _line(585, 120, 669, 145),
        *_block(674, 60, 52, expand_1x1, "by 1×1"),
        *_block(674, 118, 52, expand_3x3, "by 3×3"),
        _text(520, 106, f"{parts[0]:,}", "small", middle=True),
        _text(622, 88, f"{parts[1]:,}", "small", middle=True),
        _text(632, 152, f"{parts[2]:,}", "small", middle=True),
        _text(170, 106, f"{plain:,}", "small", middle=True),
    ]
    return _svg(820, 220, shapes)


def rounding() -> str:
    """How often each integer stands in a file, and the bits that one costs if it is as rare everywhere."""
    weights = [each for each in read_sqz(model_path(MODEL)).weights.values() if isinstance(each, Quantized)]
    counts = Counter(int(value) for each in weights for value in each.integers.flat)
    total = sum(counts.values())
    bits = {value: -math.log2(count / total) for value, count in counts.items()}
    shown = [value for value in range(-4, 5) if counts[value]]
    shapes = [_text(20, 26, f"{MODEL}: {total:,} weights as integers, {counts[0] / total:.0%} of them zero")]
    for place, value in enumerate(shown):
        left, tall = 40 + 78 * place, 150 * counts[value] / counts[0]
        shapes += [
            f'<rect class="kept" x="{left}" y="{210 - tall:.1f}" width="50" height="{max(tall, 1):.1f}"/>',
            _text(left + 25, 228, f"{value:+d}" if value else "0", middle=True),
            _text(left + 25, 203 - tall, f"{counts[value]:,}", "small", middle=True),
            _text(left + 25, 245, f"{bits[value]:.1f} bits", "small", middle=True),
        ]
    return _svg(40 + 78 * len(shown) + 20, 258, shapes)


def rows(plan: IntegerPlan) -> str:
    """The rows of each feature map that are kept at once, of all that it has."""
    planner = MemoryPlanner(plan)
    memory = planner.least()
    labels = ["image", *("" for _ in plan.feature_maps[1:])]
    for step in plan.steps[:-1]:
        name = "pool" if isinstance(step, IntegerPooling) else f"{step.kernel}×{step.kernel}"  # type: ignore[union-attr]
        labels[step.target] = name  # type: ignore[union-attr]
    orders = planner.orders()
    shapes = [
        _text(
            20,
            26,
            f"{MODEL}: rows of each feature map that are kept (blue), {orders.least:,} bytes instead of {orders.by_layer:,}",
        )
    ]
    for number, (each, kept) in enumerate(zip(plan.feature_maps, memory.rows, strict=True)):
        left, width = 24 + 50 * number, 6 + each.channels // 3
        kinds = ["kept" if row < kept and number else "whole" for row in range(each.height)]
        shapes += [
            f'<rect class="{kind}" x="{left}" y="{44 + 5 * row}" width="{width}" height="4"/>' for row, kind in enumerate(kinds)
        ]
        under = 60 + 5 * each.height
        shapes += [
            _text(left, under, labels[number], "small"),
            _text(left, under + 15, f"{each.height}²×{each.channels}", "small"),
        ]
    return _svg(24 + 50 * len(memory.rows) + 10, 245, shapes)


def _block(left: float, top: float, tall: float, channels: int, what: str) -> list[str]:
    box = f'<rect class="box" x="{left}" y="{top}" width="30" height="{tall}" rx="3"/>'
    return [box, _text(left + 36, top + tall / 2 + 1, f"{channels}"), _text(left + 36, top + tall / 2 + 15, what, "small")]


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path class="line" d="M{x} {y} L{to_x} {to_y}"/>'


def _text(x: float, y: float, text: str, kind: str = "", middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    class_of = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{class_of}{anchor}>{escape(text)}</text>'


def _svg(width: int, height: int, shapes: list[str]) -> str:
    content = "\n".join(shapes)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"><style>{STYLE}</style>\n{content}\n</svg>\n'


if __name__ == "__main__":
    main()
