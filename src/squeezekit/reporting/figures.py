"""Figures as files, for people who look rather than read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from squeezekit.inference.evaluation import Evaluation
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.figures import drawn_names, folded_name, rates_figure
from squeezekit.system.outside_files import read_outside_bytes
from squeezekit.training.run_folder import Run

# Who has drawn a picture, as it says itself.
MAKER = "squeezekit"
# No drawing of ours is larger.
MOST_BYTES = 64 * 2**20


def draw_curves(run_folder: Path) -> Path:
    """Loss and accuracy by epoch, from `metrics.csv`, as `curves.png` in the run folder; returns its path."""
    return _save(Run(run_folder).plot(), run_folder / "curves.png")


def draw_confusion(evaluation: Evaluation, path: Path) -> Path:
    """The confusion matrix, in images; returns `path`."""
    return _save(evaluation.plot(), path)


def draw_mistakes(evaluation: Evaluation, path: Path, count: int = 24) -> Path:
    """The most confidently wrong images, each with what it was taken for and what it is; returns `path`."""
    images, predicted = evaluation.images, evaluation.probabilities.argmax(1)
    confidence = np.where(predicted == images.labels, -1, evaluation.probabilities.max(1))
    worst = [i for i in np.argsort(-confidence)[:count] if confidence[i] >= 0]
    names = [folded_name(name, 22) for name in drawn_names(images.classes)]
    titles = [f"{names[predicted[i]]} {confidence[i]:.0%}\nis {names[images.labels[i]]}" for i in worst]
    columns = 6
    height = max(-(-len(worst) // columns), 1)
    lines = max((title.count("\n") for title in titles), default=1)
    figure = Figure(figsize=(1.6 * columns, (1.75 + 0.15 * lines) * height), layout="constrained")
    axes: Any = figure.subplots(height, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, i, title in zip(axes.flat, worst, titles, strict=False):
        axis.imshow(images.images[i].squeeze(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=8, parse_math=False)
    return _save(figure, path)


def draw_rates(rates: Sequence[float], losses: Sequence[float], suggested: float, path: Path) -> Path:
    """Smoothed loss against learning rate (logarithmic), the suggested rate marked; returns `path`."""
    return _save(rates_figure(rates, losses, suggested), path)


def drawn_here(path: Path) -> bool:
    """Whether a drawing may take that place: there is none yet, or one of ours."""
    if not os.path.lexists(path):
        return True
    try:
        # The first chunks of a PNG say who made it.
        return f"Software\0{MAKER}".encode() in read_outside_bytes(path, MOST_BYTES)[:200]
    except SqueezekitError:
        return False


def _save(figure: Figure, path: Path) -> Path:
    with atomic_io.replacing(path) as file:
        if path.suffix == ".svg":
            figure.savefig(file, format="svg")
        else:
            figure.savefig(file, format="png", dpi=120, metadata={"Software": MAKER})
    return path
