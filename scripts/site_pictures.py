"""The pictures of the page "Try it", drawn here, so that they are free to pass on.

    python scripts/site_pictures.py FOLDER

Each drawing has 256 pixels a side, a digit 128. tests/test_site.py shows some of them to the networks in a browser.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 256
# Drawn larger, since Pillow draws without smoothing.
LARGE = 4 * SIDE
Points = list[tuple[float, float]]


class Sheet:
    """A square to draw on; coordinates and widths are shares of its side, from the upper left."""

    def __init__(self, color: str) -> None:
        self._image = Image.new("RGB", (LARGE, LARGE), color)
        self._draw = ImageDraw.Draw(self._image)

    def area(self, color: str, *points: tuple[float, float]) -> None:
        """A polygon."""
        self._draw.polygon(_large(points), fill=color)

    def box(self, color: str, left: float, top: float, right: float, bottom: float, corner: float = 0) -> None:
        """A rectangle, with round corners of that radius."""
        self._draw.rounded_rectangle(_large([(left, top), (right, bottom)]), corner * LARGE, fill=color)

    def disc(self, color: str, x: float, y: float, radius: float) -> None:
        """A filled circle."""
        self._draw.ellipse(_large([(x - radius, y - radius), (x + radius, y + radius)]), fill=color)

    def half(self, color: str, x: float, y: float, radius: float) -> None:
        """The left half of a filled circle."""
        self._draw.pieslice(_large([(x - radius, y - radius), (x + radius, y + radius)]), 90, 270, fill=color)

    def stroke(self, color: str, width: float, points: Points) -> None:
        """A line with round ends and corners."""
        self._draw.line(_large(points), fill=color, width=round(width * LARGE), joint="curve")
        for x, y in points:
            self.disc(color, x, y, width / 2)

    def word(self, color: str, text: str, x: float, y: float, height: float) -> None:
        """Bold capitals around a middle."""
        size = height * LARGE
        font, bold = ImageFont.load_default(size), int(0.06 * size)
        self._draw.text((x * LARGE, y * LARGE), text, fill=color, font=font, anchor="mm", stroke_width=bold, stroke_fill=color)

    def picture(self, side: int = SIDE) -> Image.Image:
        """What was drawn, made smaller."""
        return self._image.resize((side, side), Image.Resampling.LANCZOS)


def _large(points: Points | tuple[tuple[float, float], ...]) -> Points:
    return [(x * LARGE, y * LARGE) for x, y in points]


def _arc(x: float, y: float, width: float, height: float, begin: float, end: float) -> Points:
    """Points of an ellipse from one angle to another, in degrees, clockwise from the right."""
    angles = [math.radians(begin + (end - begin) * step / 40) for step in range(41)]
    return [(x + width / 2 * math.cos(angle), y + height / 2 * math.sin(angle)) for angle in angles]


STROKES = {
    "0": [_arc(0.5, 0.5, 0.42, 0.7, 0, 360)],
    "3": [_arc(0.47, 0.32, 0.4, 0.34, -150, 90) + _arc(0.47, 0.67, 0.44, 0.36, -90, 150)],
    "4": [[(0.58, 0.86), (0.58, 0.14), (0.25, 0.62), (0.76, 0.62)]],
    "7": [[(0.28, 0.16), (0.72, 0.16), (0.42, 0.86)]],
}


def digit(name: str) -> Image.Image:
    """White on black and of eight pixels a side, enlarged, as the digits are that the network learnt."""
    sheet = Sheet("black")
    for points in STROKES[name]:
        sheet.stroke("white", 0.17, points)
    return sheet.picture(8).resize((SIDE // 2, SIDE // 2), Image.Resampling.BILINEAR)


def airplane() -> Image.Image:
    """In the air, from its right."""
    sheet = Sheet("#7fb2e5")
    sheet.area("#f2f4f6", (0.08, 0.5), (0.16, 0.46), (0.8, 0.44), (0.93, 0.48), (0.96, 0.52), (0.9, 0.55), (0.2, 0.56))
    sheet.area("#c9d0d8", (0.45, 0.52), (0.62, 0.52), (0.4, 0.8), (0.3, 0.8))
    sheet.area("#d8dee5", (0.48, 0.46), (0.6, 0.455), (0.47, 0.28), (0.41, 0.28))
    sheet.area("#c0392b", (0.1, 0.5), (0.2, 0.475), (0.12, 0.26), (0.05, 0.26))
    sheet.area("#c9d0d8", (0.12, 0.52), (0.22, 0.53), (0.1, 0.62), (0.05, 0.62))
    for window in range(10):
        sheet.disc("#445566", 0.31 + 0.05 * window, 0.495, 0.01)
    return sheet.picture()


def automobile() -> Image.Image:
    """A red car on a road."""
    sheet = Sheet("#b9c7d2")
    sheet.box("#75777a", 0, 0.7, 1, 1)
    sheet.area("#b01f24", (0.27, 0.5), (0.37, 0.33), (0.65, 0.33), (0.78, 0.5))
    sheet.area("#243240", (0.32, 0.5), (0.39, 0.37), (0.5, 0.37), (0.5, 0.5))
    sheet.area("#243240", (0.53, 0.5), (0.53, 0.37), (0.63, 0.37), (0.72, 0.5))
    sheet.box("#cc262c", 0.06, 0.48, 0.94, 0.7, corner=0.07)
    for middle in (0.25, 0.75):
        sheet.disc("#151515", middle, 0.69, 0.11)
        sheet.disc("#c8c8c8", middle, 0.69, 0.055)
    sheet.disc("#ffe9a0", 0.91, 0.56, 0.03)
    return sheet.picture()


def ship() -> Image.Image:
    """A steamer at sea."""
    sheet = Sheet("#9ec7ea")
    sheet.box("#2f5f8f", 0, 0.68, 1, 1)
    sheet.area("#7d2b2b", (0.08, 0.58), (0.94, 0.55), (0.86, 0.74), (0.16, 0.74))
    sheet.area("#222222", (0.08, 0.58), (0.94, 0.55), (0.93, 0.6), (0.1, 0.63))
    sheet.box("#f4f4f0", 0.3, 0.44, 0.7, 0.57)
    sheet.box("#e6e6e0", 0.38, 0.34, 0.62, 0.44)
    sheet.box("#c0392b", 0.46, 0.18, 0.54, 0.34)
    sheet.box("#222222", 0.46, 0.18, 0.54, 0.22)
    for window in range(7):
        sheet.box("#35506b", 0.33 + 0.05 * window, 0.48, 0.36 + 0.05 * window, 0.51)
    return sheet.picture()


def truck() -> Image.Image:
    """A lorry on a road."""
    sheet = Sheet("#c8d6df")
    sheet.box("#6d6f72", 0, 0.76, 1, 1)
    sheet.box("#eef0f2", 0.05, 0.22, 0.66, 0.7)
    sheet.box("#2f6fb0", 0.05, 0.4, 0.66, 0.5)
    sheet.area("#2f6fb0", (0.68, 0.36), (0.84, 0.36), (0.94, 0.52), (0.94, 0.72), (0.68, 0.72))
    sheet.area("#1f2b38", (0.72, 0.4), (0.82, 0.4), (0.89, 0.52), (0.72, 0.52))
    sheet.box("#333333", 0.05, 0.68, 0.94, 0.74)
    for middle in (0.18, 0.34, 0.8):
        sheet.disc("#151515", middle, 0.74, 0.08)
        sheet.disc("#bbbbbb", middle, 0.74, 0.035)
    return sheet.picture()


def stop_sign() -> Image.Image:
    """Beside a field."""
    sheet = Sheet("#9cc4e8")
    sheet.box("#5c7a45", 0, 0.8, 1, 1)
    sheet.box("#777777", 0.48, 0.5, 0.52, 1)
    for color, radius in (("white", 0.36), ("#b5171e", 0.33)):
        corners = [math.pi / 8 + turn * math.pi / 4 for turn in range(8)]
        sheet.area(color, *((0.5 + radius * math.cos(corner), 0.42 + radius * math.sin(corner)) for corner in corners))
    sheet.word("white", "STOP", 0.5, 0.42, 0.2)
    return sheet.picture()


def strawberry() -> Image.Image:
    """On white."""
    sheet = Sheet("white")
    sheet.area("#d4202a", *_arc(0.5, 0.42, 0.66, 0.5, 180, 360), *[(0.5 + 0.33 * x, 0.42 + 0.5 * y) for x, y in _side()])
    for row, (top, count) in enumerate([(0.36, 4), (0.46, 5), (0.56, 4), (0.66, 3), (0.76, 2)]):
        for seed in range(count):
            sheet.disc("#f2d36b", 0.5 + 0.12 * (seed - (count - 1) / 2), top + 0.01 * (row % 2), 0.012)
    for turn in range(-3, 4):
        angle = math.radians(90 + 26 * turn)
        tip = (0.5 + 0.3 * math.cos(angle), 0.17 + 0.17 * math.sin(angle))
        sheet.area("#2e7d32", (0.44, 0.19), (0.56, 0.19), tip)
    sheet.stroke("#2e7d32", 0.03, [(0.5, 0.2), (0.53, 0.08)])
    return sheet.picture()


def _side() -> Points:
    """From the right of a berry by its tip to its left."""
    heights = [step / 20 for step in range(21)]
    right = [((1 - height**1.7), height) for height in heights]
    return right + [(-x, y) for x, y in reversed(right)]


def yin_yang() -> Image.Image:
    """On white."""
    sheet = Sheet("white")
    sheet.disc("black", 0.5, 0.5, 0.42)
    sheet.half("white", 0.5, 0.5, 0.407)
    for color, other, middle in (("white", "black", 0.2965), ("black", "white", 0.7035)):
        sheet.disc(color, 0.5, middle, 0.2035)
        sheet.disc(other, 0.5, middle, 0.057)
    return sheet.picture()


DRAWINGS: dict[str, Callable[[], Image.Image]] = {
    **{f"digit-{name}": (lambda name=name: digit(name)) for name in STROKES},
    **{draw.__name__: draw for draw in (airplane, automobile, ship, truck, stop_sign, strawberry, yin_yang)},
}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        draw().save(folder / f"{name}.png", optimize=True)
