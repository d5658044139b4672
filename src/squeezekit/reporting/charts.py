"""Plots of a report, as SVG that takes the page's colors; every one with the values that it shows."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from squeezekit.inference.confusion_figure import CLASSES_WITH_NUMBERS, draw_confusion, folded_names
from squeezekit.inference.reliability import ConfidenceBin
from squeezekit.networks.layer_table import Layer
from squeezekit.reporting.document import Column, Plot, Table
from squeezekit.reporting.localization import Language
from squeezekit.reporting.svg import INK, for_page
from squeezekit.system.shown_text import shown

COLORS = ("#1f77b4", "#e07b00", "#2ca02c", "#c43c39", "#8e63b6", "#8c6d31", "#d45f9e", "#4f8f8b")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Names may hold the sign that begins a formula.
    "text.parse_math": False,
    "svg.hashsalt": "squeezekit",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.facecolor": "none",
    "legend.framealpha": 0.0,
    "savefig.facecolor": "none",
}
# Inches of a drawing, of a cell of a confusion matrix and of a letter, and the longest name in a drawing.
WIDTH, CELL, LETTER, MOST_LETTERS = 7.2, 0.42, 0.075, 60
Row = Mapping[str, Any]


def curves(what: str, history: Sequence[Mapping[str, float]], falls: Sequence[int], best: int, language: Language) -> Plot:
    """Training and validation `loss` or `accuracy` by epoch, the epochs marked where the rate falls and of the best weights."""
    epochs = [int(row["epoch"]) for row in history]
    validated = any(not math.isnan(row["validation_loss"]) for row in history)
    parts = ("training", "validation") if validated else ("training",)

    def draw(axis: Axes) -> None:
        for part, color in zip(parts, COLORS, strict=False):
            axis.plot(epochs, [row[f"{part}_{what}"] for row in history], color=color, label=language.text(part))
        for number, epoch in enumerate(falls):
            label = language.text("rate falls") if number == 0 else None
            axis.axvline(epoch, color=INK, alpha=0.35, linestyle="--", linewidth=0.8, label=label)
        if validated:
            axis.axvline(best, color=COLORS[2], linestyle=":", label=language.text("best epoch"))
        axis.set(xlabel=language.text("epoch"), ylabel=language.text(what))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend()

    kind = "loss" if what == "loss" else "percent"
    columns = [Column(language.text("epoch"), "integer"), Column(language.text("learning rate"), "number")]
    columns += [Column(f"{language.text(what)}, {language.text(part)}", kind) for part in parts]  # type: ignore[arg-type]
    rows = [[int(row["epoch"]), row["learning_rate"], *(row[f"{part}_{what}"] for part in parts)] for row in history]
    return _plot(f"{what}-curve", language.text(f"{what} curve"), draw, columns, rows, language)


def rate_curves(rows: Sequence[Row], names: Sequence[str], language: Language) -> Plot:
    """Validation loss by epoch for trials of different learning rates, each with its name."""

    def draw(axis: Axes) -> None:
        for number, (row, name) in enumerate(zip(rows, names, strict=True)):
            losses = [loss if math.isfinite(loss) else math.nan for loss in row["curve"]]
            label = f"{language.number(row['fields']['learning_rate'])}: {language.text(f'state {name}')}"
            axis.plot(range(1, len(losses) + 1), losses, color=COLORS[number % len(COLORS)], label=label, marker=".")
        axis.set(xlabel=language.text("epoch"), ylabel=language.text("validation loss"))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend()

    columns = [Column(language.text("learning rate"), "number"), Column(language.text("curve"))]
    columns += [Column(f"{language.text('epoch')} {i + 1}", "loss") for i in range(max(len(row["curve"]) for row in rows))]
    data = [
        [row["fields"]["learning_rate"], language.text(f"state {name}"), *row["curve"]]
        for row, name in zip(rows, names, strict=True)
    ]
    longest = len(columns)
    padded = [[*values, *[None] * (longest - len(values))] for values in data]
    return _plot("learning-rates", language.text("rates plot"), draw, columns, padded, language)


def heat_map(cells: Mapping[tuple[Any, Any], float], first: str, second: str, epoch: int, language: Language) -> Plot:
    """Mean losses by the values of two fields."""
    down, across = (sorted({key[i] for key in cells}, key=_order) for i in (0, 1))

    def draw(axis: Axes) -> None:
        low, high = min(cells.values()), max(cells.values())
        for (x, y), loss in cells.items():
            i, j = down.index(x), across.index(y)
            depth = (loss - low) / ((high - low) or 1)
            axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=COLORS[0], alpha=0.75 - 0.7 * depth, edgecolor="none"))
            axis.text(j, i, language.number(loss, 4), ha="center", va="center")
        axis.set(xlim=(-0.5, len(across) - 0.5), ylim=(-0.5, len(down) - 0.5), xlabel=_short(second), ylabel=_short(first, 30))
        axis.set_xticks(range(len(across)), [_short(language.shown(value)) for value in across])
        axis.set_yticks(range(len(down)), [_short(language.shown(value)) for value in down])

    caption = language.text("heat plot", epoch=epoch, first=_short(first), second=_short(second))
    columns = [Column(first), Column(second), Column(language.text("validation loss"), "loss")]
    rows = [[x, y, loss] for (x, y), loss in sorted(cells.items(), key=lambda cell: (_order(cell[0][0]), _order(cell[0][1])))]
    return _plot("heat", caption, draw, columns, rows, language, grid=False, ticks=False)


def bars(name: str, caption: str, shares: Mapping[str, float], titles: tuple[str, str], language: Language) -> Plot:
    """Shares, 0…1, the largest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])

    def draw(axis: Axes) -> None:
        axis.barh([_short(name) for name, _ in ordered], [share for _, share in ordered], color=COLORS[0])
        for place, (_, share) in enumerate(ordered):
            axis.text(share + 0.01, place, language.percent(share), va="center")
        axis.invert_yaxis()
        axis.set(xlim=(0, 1.12))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: language.percent(x, 0)))

    columns = [Column(titles[0]), Column(titles[1], "percent")]
    height = 0.8 + 0.35 * len(ordered)
    return _plot(name, caption, draw, columns, ordered, language, height=height, ticks=False)


def pareto(rows: Sequence[Row], front: Sequence[int], size: str, recommended: int, language: Language) -> Plot:
    """Accuracy against size of the trials that ran to the end."""
    points = {row["point"]: row for row in rows}
    joined = [points[point] for point in front]

    def draw(axis: Axes) -> None:
        axis.scatter([row["sizes"][size] for row in rows], [row["accuracy"] for row in rows], s=14, color=COLORS[0], alpha=0.6)
        axis.plot(
            [row["sizes"][size] for row in joined],
            [row["accuracy"] for row in joined],
            color=COLORS[1],
            marker="o",
            markersize=4,
        )
        best = points[recommended]
        axis.scatter(
            [best["sizes"][size]],
            [best["accuracy"]],
            s=90,
            marker="*",
            color=COLORS[3],
            zorder=3,
            label=language.text("recommended"),
        )
        axis.set(xlabel=language.text(size), ylabel=language.text("validation accuracy"))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: language.integer(x)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: language.percent(y)))
        axis.tick_params(axis="x", labelsize=8)
        axis.legend()

    titles = (language.text("trial"), language.text(size), language.text("validation loss"), language.text("validation accuracy"))
    columns = [Column(title, kind) for title, kind in zip(titles, ("integer", "integer", "loss", "percent"), strict=True)]  # type: ignore[arg-type]
    data = [[row["point"], row["sizes"][size], row["loss"], row["accuracy"]] for row in rows]
    caption = language.text("front plot", size=language.text(size))
    return _plot("front", caption, draw, columns, data, language, ticks=False)


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str], language: Language) -> Plot:
    """The confusion matrix, and its counts as a table; the drawing may end a long name with "…", the table does not."""
    many = len(classes) > CLASSES_WITH_NUMBERS
    most = MOST_LETTERS // 2 if len(classes) > 12 else MOST_LETTERS
    names = folded_names([_short(name, most) for name in classes], 4.5 / len(classes))
    margin = 1 + LETTER * max(len(line) for name in names for line in name.split("\n"))

    def draw(axis: Axes) -> None:
        labels = {"predicted": language.text("predicted class"), "actual": language.text("true class")}
        draw_confusion(axis, matrix, names, **labels, number=language.integer)
        axis.tick_params(labelsize=7 if many else 9)

    columns = [Column(language.text("true class")), *(Column(name, "integer") for name in classes)]
    rows = [[name, *row] for name, row in zip(classes, matrix, strict=True)]
    height = margin + min(CELL * len(classes), WIDTH - margin)
    return _plot("confusion", language.text("confusion"), draw, columns, rows, language, height=height, grid=False, ticks=False)


def reliability(bins: Sequence[ConfidenceBin], language: Language) -> Plot:
    """Share of right answers by confidence; a bar of few images is pale."""
    most = max(each.images for each in bins)

    def draw(axis: Axes) -> None:
        axis.plot([0, 1], [0, 1], color=INK, alpha=0.5, linestyle="--", linewidth=0.8)
        for each in bins:
            width, shade = each.high - each.low, 0.25 + 0.6 * each.images / most
            axis.bar(each.low, each.accuracy, 0.94 * width, align="edge", color=COLORS[0], alpha=shade)
            axis.text(each.low + width / 2, each.accuracy + 0.015, language.integer(each.images), ha="center", fontsize=7)
        axis.set(xlim=(0, 1), ylim=(0, 1.08), xlabel=language.text("confidence"), ylabel=language.text("right answers"))
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter(FuncFormatter(lambda share, _: language.percent(share, 0)))

    names = ("from", "to", "images", "mean confidence", "right answers")
    columns = [Column(language.text(name), "integer" if name == "images" else "percent") for name in names]
    rows = [[each.low, each.high, each.images, each.confidence, each.accuracy] for each in bins]
    return _plot("reliability", language.text("reliability"), draw, columns, rows, language, ticks=False)


def diagram(layers: Sequence[Layer], language: Language) -> Plot:
    """The outputs of the layers as blocks, from left to right."""

    def draw(axis: Axes) -> None:
        left = 0.0
        for layer in layers:
            channels, side = layer.output[0], layer.output[1] if len(layer.output) == 3 else 1
            width, height = 0.25 * math.log2(channels + 1), 0.3 + math.log2(side + 1)
            color = COLORS[{"Fire": 0, "Conv2d": 1, "MaxPool2d": 2}.get(layer.type, 4)]
            axis.add_patch(
                Rectangle((left, -height / 2), width, height, facecolor=color, alpha=0.45, edgecolor=INK, linewidth=0.6)
            )
            shape = "×".join(str(part) for part in layer.output)
            axis.text(
                left + width / 2, -height / 2 - 0.15, f"{layer.type} {shape}", rotation=90, ha="center", va="top", fontsize=7
            )
            left += width + 0.35
        axis.set(xlim=(-0.2, left), ylim=(-6.4, 3.2))
        axis.axis("off")

    columns = [Column(language.text("layer")), Column(language.text("type")), Column(language.text("output"))]
    rows = [[layer.layer, layer.type, "×".join(map(str, layer.output))] for layer in layers]
    return _plot("architecture", language.text("diagram"), draw, columns, rows, language, height=4, grid=False, ticks=False)


def folds(rows: Sequence[Row], spread: Mapping[str, float], language: Language) -> Plot:
    """Accuracy of each training, with mean and interval."""
    accuracies = [row["accuracy"] for row in rows]

    def draw(axis: Axes) -> None:
        axis.axhspan(spread["low"], spread["high"], color=COLORS[0], alpha=0.15)
        axis.axhline(spread["mean"], color=COLORS[0])
        axis.scatter(range(1, len(rows) + 1), accuracies, color=COLORS[1], zorder=3)
        axis.set(xlabel=language.text("trial"), ylabel=language.text("validation accuracy"))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: language.percent(y)))

    columns = [
        Column(language.text("seed"), "integer"),
        Column(language.text("fold"), "integer"),
        Column(language.text("validation accuracy"), "percent"),
    ]
    data = [[row["fields"]["seed"], row["fields"]["fold"], row["accuracy"]] for row in rows]
    return _plot("folds", language.text("fold plot"), draw, columns, data, language, ticks=False)


def _order(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _short(name: str, most: int = MOST_LETTERS) -> str:
    """A name from outside, for a drawing."""
    name = shown(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _plot(
    name: str,
    caption: str,
    draw: Callable[[Axes], None],
    columns: Sequence[Column],
    rows: Sequence[Sequence[Any]],
    language: Language,
    *,
    height: float = 3.4,
    grid: bool = True,
    ticks: bool = True,
) -> Plot:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axis = figure.subplots()
        draw(axis)
        if grid:
            axis.grid(alpha=0.2, color=INK)
        if ticks:
            axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: language.number(round(y, 10))))
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        text = io.StringIO()
        with warnings.catch_warnings():
            # The browser draws the letters, also those that this font lacks.
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            figure.savefig(text, format="svg", metadata={"Date": None})
    return Plot(name, caption, for_page(text.getvalue(), caption), Table(name, caption, columns, rows))
