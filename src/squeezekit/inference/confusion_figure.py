"""The drawing of a confusion matrix, for `evaluate` and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from squeezekit.system.figures import NotebookFigure, drawn_names, folded_name

# More classes get no numbers in the cells, and far more no names either.
CLASSES_WITH_NUMBERS, CLASSES_WITH_NAMES = 25, 60
# Width of a letter and height of a line in inches, and where a name is broken if its cell has room for another line.
LETTER, LINE, LINE_LENGTH = 0.085, 0.17, 24
# Inches above the matrix.
TITLE = 0.4
RIGHT, WRONG = "#1f77b4", "#c43c39"


def confusion_figure(confusion: ArrayLike, classes: Sequence[str]) -> Figure:
    """A square figure of a confusion matrix, as large as its names need; see `draw_confusion`."""
    count = len(classes)
    side = min(max(3.0, 0.5 * count + 1), 14.0)
    names = folded_names(drawn_names(classes), side / count)
    # Margins by the length of names: to have them found (layout="constrained") takes as long as drawing.
    longest = max(len(line) for name in names for line in name.split("\n")) if count <= CLASSES_WITH_NAMES else 0
    margin = 0.7 + LETTER * longest
    whole = side + margin + TITLE
    figure = NotebookFigure(figsize=(whole, whole))
    draw_confusion(figure.add_axes((margin / whole, margin / whole, side / whole, side / whole)), confusion, names)
    return figure


def folded_names(names: Sequence[str], cell: float) -> list[str]:
    """Names in lines that fit beside cells of that height in inches."""
    lines = max(int(cell / LINE), 1)
    return [folded_name(name, max(LINE_LENGTH, -(-len(name) // lines))) for name in names]


def draw_confusion(
    axes: Axes,
    confusion: ArrayLike,
    classes: Sequence[str],
    *,
    predicted: str = "predicted class",
    actual: str = "class",
    number: Callable[[int], str] = str,
) -> None:
    """Draw `confusion`, integers [classes, classes], on axes: `confusion[i][j]` counts images of class i predicted as class j.

    The deeper a color, the larger the share of the class: blue on the diagonal, red elsewhere. `predicted` and `actual` label
    the axes, `number` formats counts.
    """
    counts, count = np.asarray(confusion, np.int64), len(classes)
    axes.pcolormesh(_colors(counts), edgecolors="none")
    axes.set(xlim=(0, count), ylim=(count, 0), aspect="equal", xlabel=predicted, ylabel=actual)
    if count <= CLASSES_WITH_NAMES:
        middles = np.arange(count) + 0.5
        axes.set_xticks(middles, classes, rotation="vertical", parse_math=False)
        axes.set_yticks(middles, classes, parse_math=False)
    if count <= CLASSES_WITH_NUMBERS:
        for (row, column), images in np.ndenumerate(counts):
            if images:
                axes.text(column + 0.5, row + 0.5, number(int(images)), ha="center", va="center", fontsize=8)


def _colors(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """RGBA, float [classes, classes, 4], transparent so that any background and color of text go with it."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    colors = np.where(np.eye(len(counts), dtype=bool)[:, :, None], to_rgba(RIGHT), to_rgba(WRONG))
    colors[:, :, 3] = 0.05 + 0.8 * shares
    return colors
