"""Pictures where people look rather than read."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from squeezekit.inference.evaluation import Evaluation
from squeezekit.system import atomic_io
from squeezekit.training.confusion_figure import confusion_figure


def draw_curves(run_folder: Path) -> Path:
    """Loss and accuracy by epoch, from `metrics.csv`, as `curves.png` in the run folder; returns its path."""
    with (run_folder / "metrics.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    for axis, what in zip(axes, ("loss", "accuracy"), strict=True):
        for part in ("training", "validation"):
            axis.plot(epochs, [row[f"{part}_{what}"] for row in rows], label=part, marker="." if len(rows) < 40 else "")
        axis.set(xlabel="epoch", title=what)
        axis.grid(alpha=0.3)
    best = min(rows, key=lambda row: math.inf if math.isnan(row["validation_loss"]) else row["validation_loss"])
    axes[0].axvline(best["epoch"], color="grey", linestyle=":", label="lowest validation loss")
    axes[0].legend()
    axes[1].legend()
    return _save(figure, run_folder / "curves.png")


def draw_confusion(evaluation: Evaluation, path: Path) -> Path:
    """The confusion matrix, in images; returns `path`."""
    figure = confusion_figure(np.array(evaluation.confusion), evaluation.images.classes)
    figure.suptitle(f"accuracy {evaluation.accuracy:.1%} of {len(evaluation.images)} images")
    return _save(figure, path)


def draw_mistakes(evaluation: Evaluation, path: Path, count: int = 24) -> Path:
    """The most confidently wrong images, each with what it was taken for and what it is; returns `path`."""
    images, predicted = evaluation.images, evaluation.probabilities.argmax(1)
    confidence = np.where(predicted == images.labels, -1, evaluation.probabilities.max(1))
    worst = [i for i in np.argsort(-confidence)[:count] if confidence[i] >= 0]
    columns = 6
    height = max(-(-len(worst) // columns), 1)
    figure = Figure(figsize=(1.6 * columns, 1.9 * height), layout="constrained")
    axes: Any = figure.subplots(height, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, i in zip(axes.flat, worst, strict=False):
        axis.imshow(images.images[i].squeeze(), cmap="gray", vmin=0, vmax=255)
        taken, true = images.classes[predicted[i]], images.classes[images.labels[i]]
        axis.set_title(f"{taken} {confidence[i]:.0%}\nis {true}", fontsize=8, parse_math=False)
    return _save(figure, path)


def draw_sizes(points: Mapping[str, Sequence[tuple[int, float]]], path: Path) -> Path:
    """Bytes (logarithmic) against accuracy, a line for each method; returns `path`."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for number, (method, found) in enumerate(points.items()):
        sizes, accuracies = zip(*sorted(found), strict=True)
        axis.plot(sizes, accuracies, label=method, marker="osD^v<>P*X"[number % 10], linewidth=1.2, markersize=5)
    axis.set(xscale="log", xlabel="bytes", ylabel="test accuracy")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    return _save(figure, path)


def draw_rates(rates: Sequence[float], losses: Sequence[float], suggested: float, path: Path) -> Path:
    """Smoothed loss against learning rate (logarithmic), the suggested rate marked; returns `path`."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(rates, losses)
    axis.axvline(suggested, color="grey", linestyle=":", label=f"suggested: {suggested:g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss")
    # The steep end hides everything else.
    axis.set_ylim(min(losses) - 0.1, losses[0] + 0.5 * (losses[0] - min(losses)) + 0.1)
    axis.grid(alpha=0.3)
    axis.legend()
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    with atomic_io.replacing(path) as file:
        figure.savefig(file, format="svg" if path.suffix == ".svg" else "png", dpi=120)
    return path
