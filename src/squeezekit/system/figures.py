"""Figures of plain numbers, one function a kind; whoever calls them shows or saves them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from squeezekit.system.shown_text import shown


class NotebookFigure(Figure):
    """A figure that a notebook draws although pyplot, which keeps every figure in memory, does not know it."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def drawn_names(names: Sequence[str]) -> list[str]:
    """Names of classes as the font of figures can draw them: where it lacks a letter, `class 3` stands for the third."""
    letters = get_font(findfont(FontProperties())).get_charmap().keys()
    texts = map(shown, names)
    return [text if letters >= set(map(ord, text)) else f"class {place}" for place, text in enumerate(texts, 1)]


def folded_name(name: str, columns: int) -> str:
    """A name on lines of at most `columns` characters, broken behind a sign between words where there is one."""
    lines = []
    while len(name) > columns:
        cut = max(name.rfind(sign, columns // 2, columns) for sign in " _-") + 1 or columns
        lines.append(name[:cut])
        name = name[cut:]
    return "\n".join([*lines, name])


def curves_figure(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss and accuracy (0…1) by epoch; `history` has the rows of a run's `metrics.csv`, as numbers."""
    figure = NotebookFigure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for axis, what in zip(axes, ("loss", "accuracy"), strict=True):
        for part in ("training", "validation"):
            if all(math.isnan(row[f"{part}_{what}"]) for row in history):
                continue
            axis.plot(epochs, [row[f"{part}_{what}"] for row in history], label=part, marker="." if len(history) < 40 else "")
        axis.set(xlabel="epoch", title=what)
        axis.grid(alpha=0.3)
    if validated := [row for row in history if not math.isnan(row["validation_loss"])]:
        best = min(validated, key=lambda row: row["validation_loss"])
        axes[0].axvline(best["epoch"], color="grey", linestyle=":", label="lowest validation loss")
    axes[0].legend()
    axes[1].legend()
    return figure


def sizes_figure(points: Mapping[str, Sequence[tuple[int, float]]], accuracy: str = "test accuracy") -> Figure:
    """Bytes (logarithmic) against accuracy (0…1), a line for each name."""
    figure = NotebookFigure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for number, (name, found) in enumerate(points.items()):
        sizes, accuracies = zip(*sorted(found), strict=True)
        axis.plot(sizes, accuracies, label=name, marker="osD^v<>P*X"[number % 10], linewidth=1.2, markersize=5)
    axis.set(xscale="log", xlabel="bytes", ylabel=accuracy)
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    return figure


def rates_figure(rates: Sequence[float], losses: Sequence[float], suggested: float) -> Figure:
    """Smoothed loss against learning rate (logarithmic), the suggested rate marked."""
    figure = NotebookFigure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(rates, losses)
    axis.axvline(suggested, color="grey", linestyle=":", label=f"suggested: {suggested:g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss")
    # The steep end hides everything else.
    axis.set_ylim(min(losses) - 0.1, losses[0] + 0.5 * (losses[0] - min(losses)) + 0.1)
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def front_figure(sizes: Sequence[int], accuracies: Sequence[float], front: Sequence[int], chosen: int, size: str) -> Figure:
    """Size against validation accuracy (0…1) of trials; `front` are indices of those that no other beats, in order of size."""
    figure = NotebookFigure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    axis.scatter(sizes, accuracies, s=14, alpha=0.6, label="trials")
    axis.plot([sizes[i] for i in front], [accuracies[i] for i in front], color="tab:orange", marker="o", label="Pareto front")
    axis.scatter([sizes[chosen]], [accuracies[chosen]], s=90, marker="*", color="tab:red", zorder=3, label="recommended")
    axis.set(xlabel=size, ylabel="validation accuracy")
    axis.grid(alpha=0.3)
    axis.legend()
    return figure
