"""The picture of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

# More classes get no numbers in the cells, and far more no names either.
CLASSES_WITH_NUMBERS, CLASSES_WITH_NAMES = 25, 60


def confusion_figure(confusion: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """`confusion[i][j]` counts images of class i taken for class j; colours are shares of the class, 0…1."""
    count = len(classes)
    side = min(max(4.0, 0.5 * count + 2), 16.0)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
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
