"""The figure of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

# More classes get no numbers in the cells, and far more no names either.
CLASSES_WITH_NUMBERS, CLASSES_WITH_NAMES = 25, 60
# Width of a letter in inches.
LETTER = 0.085


def confusion_figure(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """`confusion[i][j]` counts images of class i taken for class j; colours are shares of the class, 0…1."""
    count = len(classes)
    # Margins by the length of names: to have them found (layout="constrained") takes as long as drawing.
    longest = max(map(len, classes)) if count <= CLASSES_WITH_NAMES else 0
    side, margin = min(max(3.0, 0.5 * count + 1), 14.0), 0.7 + LETTER * min(longest, 40)
    whole = side + margin + 0.1
    figure = Figure(figsize=(whole, whole))
    axes = figure.add_axes((margin / whole, margin / whole, side / whole, side / whole))
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="taken for", ylabel="class")
    if count <= CLASSES_WITH_NAMES:
        axes.set_xticks(range(count), classes, rotation="vertical", parse_math=False)
        axes.set_yticks(range(count), classes, parse_math=False)
    if count <= CLASSES_WITH_NUMBERS:
        for (row, column), images in np.ndenumerate(confusion):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(images), ha="center", va="center", color=colour)
    return figure
