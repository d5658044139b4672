"""The frontier: docs/results/frontier.md, its pictures and the README's table: accuracy against bytes, RAM, MACs and parameters.

    python scripts/frontier.py

Drawn anew from the cards of the pretrained models, and from docs/runs/frontier, where scripts/frontier_rows.py puts what it has
trained, and where what others published stands.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, MultipleLocator, NullLocator

from squeezekit.system import atomic_io
from squeezekit.system.figures import NotebookFigure

DOCS = Path(__file__).parent.parent / "docs"
RUNS, CARDS = DOCS / "runs" / "frontier", DOCS / "results" / "models"
PAGE, README = DOCS / "results" / "frontier.md", DOCS.parent / "README.md"
PICTURE, FIRST_PICTURE = DOCS / "frontier.png", DOCS / "bytes.png"
BEGIN, END = "<!-- models -->", "<!-- end of models -->"
# What can be short, and what its axis says.
COSTS = {"bytes": "bytes of the file", "ram": "RAM for maps, bytes", "macs": "MACs of one image", "parameters": "parameters"}
LONG = 40  # Epochs.
Row = dict[str, Any]


def rows_of(name: str) -> list[Row]:
    """Of a file of JSON lines; none where it is missing."""
    path = RUNS / name
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def models() -> list[Row]:
    """The pretrained networks for CIFAR-10, the smallest file first."""
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in CARDS.glob("cifar10-*.json")]
    return sorted((of_card(card) for card in cards), key=lambda row: int(row["bytes"]))


def of_card(card: Row) -> Row:
    """Its row; accuracies are those of its integers."""
    numbers = {name: card[name] for name in ("name", "bytes", "macs", "parameters", "official")}
    return {**numbers, "ram": card["c"]["activations"], "accuracy": card["test"]["accuracy"]}


def dominating(row: Row, others: Sequence[Row], cost: str) -> list[str]:
    """Who of the others is at least as accurate at no higher cost."""
    better = [other for other in others if other is not row and other.get(cost) is not None]
    return [
        other["name"]
        for other in better
        if other["accuracy"] >= row["accuracy"]
        and other[cost] <= row[cost]
        and (other["accuracy"], other[cost]) != (row["accuracy"], row[cost])
    ]


def _head(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def model_table(rows: Sequence[Row], others: Sequence[Row]) -> str:
    """Ours, each with those that dominate it."""
    head = ["model", "bytes", "RAM for maps", "MACs", "parameters", "top-1", "of the 1,000 official", "dominated by"]
    lines = _head(head)
    for row in rows:
        beaten = {cost: dominating(row, [*rows, *others], cost) for cost in ("bytes", "ram", "macs")}
        said = "; ".join(f"**by {cost}: {', '.join(names)}**" for cost, names in beaten.items() if names)
        numbers = f"{row['bytes']:,} | {row['ram']:,} | {row['macs'] / 1e6:.1f} M | {row['parameters']:,}"
        shares = f"{row['accuracy']:.2%} | {row['official']:.1%}"
        lines.append(f"| [`{row['name']}`](models/{row['name']}.md) | {numbers} | {shares} | {said} |")
    return "\n".join(lines)


def trained_table(rows: Sequence[Row], published: Sequence[Row]) -> str:
    """Networks in floats, beside what others published for them."""
    known = {row["network"]: row for row in published if "network" in row}
    lines = _head(["network", "MACs", "parameters", "top-1", "of the 1,000 official", "epochs", "published"])
    for row in sorted(rows, key=lambda row: row["macs"]):
        beside = known.get(row["network"])
        theirs = f"{beside['accuracy']:.1%} after {beside['epochs']} epochs" if beside else ""
        taught = " with a teacher" if row["teacher"] else ""
        numbers = f"{row['macs'] / 1e6:.1f} M | {row['parameters']:,} | {row['accuracy']:.2%} | {row['official']:.1%}"
        lines.append(f"| `{row['network']}` | {numbers} | {row['epochs']}{taught} | {theirs} |")
    return "\n".join(lines)


def published_table(rows: Sequence[Row]) -> str:
    """What others say of theirs; what they do not say is left empty."""
    lines = _head(["what", "bytes", "RAM for maps", "MACs", "parameters", "top-1", "source"])
    for row in sorted(rows, key=lambda row: row["accuracy"]):
        counts = [f"{row[cost]:,}" if cost in row else "" for cost in ("bytes", "ram")]
        macs = f"{row['macs'] / 1e6:.1f} M" if "macs" in row else ""
        parameters = f"{row['parameters']:,}" if "parameters" in row else ""
        epochs = f", {row['epochs']:,} epochs" if "epochs" in row else ""
        numbers = " | ".join([*counts, macs, parameters, f"{row['accuracy']:.2%}"])
        lines.append(f"| {row['name']} | {numbers} | {row['source']}{epochs} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The whole page, in Markdown: the tables stand in `text` where it names them in braces."""
    published, rows = rows_of("published.jsonl"), rows_of("rows.jsonl")
    others = {row.get("network") for row in published}
    # Trained as others' networks were here.
    ways = {_way(row) for row in rows if row["network"] in others}
    tables = {
        "models": model_table(models(), published),
        "trained": trained_table([row for row in rows if _way(row) not in ways], published),
        "beside": trained_table([row for row in rows if _way(row) in ways], published),
        "published": published_table(published),
    }
    for name, table in tables.items():
        text = text.replace(f"{{{name}}}", table)
    return text


def _way(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("epochs", "teacher", "seed", "precision"))


def with_models(readme: str) -> str:
    """The README with its table of them."""
    before, _, rest = readme.partition(BEGIN)
    lines = _head(["model", "top-1", "bytes", "RAM for maps", "MACs", "parameters"])
    for row in models():
        numbers = f"{row['bytes']:,} | {row['ram']:,} | {row['macs'] / 1e6:.1f} M | {row['parameters']:,}"
        lines.append(f"| [`{row['name']}`](docs/results/models/{row['name']}.md) | {row['accuracy']:.1%} | {numbers} |")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}"


def plot(axis: Axes, cost: str, size: float) -> None:
    """Accuracy against one cost, logarithmic: ours in a line, published figures hollow, others' networks square."""
    published = [row for row in rows_of("published.jsonl") if cost in row]
    others = {row.get("network") for row in published} - {None}
    # Shorter trainings than ours stand in the table alone.
    again = [row for row in rows_of("rows.jsonl") if row["network"] in others and cost in row and row["epochs"] >= LONG]
    for label, rows, marker, edge, face in (
        ("squeezekit", models(), "o-", "C0", "C0"),
        ("others' networks, trained here", again, "s", "C1", "C1"),
        ("published by others", published, "o", "0.4", "none"),
    ):
        if not rows:
            continue
        places, accuracies = [row[cost] for row in rows], [row["accuracy"] for row in rows]
        axis.plot(places, accuracies, marker, color=edge, markerfacecolor=face, label=label)
        for row, place, accuracy in zip(rows, places, accuracies, strict=True):
            side = "below" if label == "squeezekit" else row.get("label", {}).get(cost, "right")
            across, up, end = {
                "right": (6, -size / 3, "left"),
                "left": (-6, -size / 3, "right"),
                "above": (0, 5, "center"),
                "below": (6, -size, "left"),
            }[side]
            name = row.get("name") or row["network"]
            text = {"xytext": (across, up), "textcoords": "offset points", "ha": end}
            axis.annotate(name, (place, accuracy), fontsize=size, color=edge, **text)
    axis.set(xscale="log", xlabel=COSTS[cost])
    axis.margins(x=0.25, y=0.1)
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.yaxis.set_major_locator(MultipleLocator(0.05))
    axis.yaxis.set_major_formatter("{x:.0%}")


def draw() -> None:
    """Both pictures: bytes alone, and all four costs."""
    figure = NotebookFigure(figsize=(8, 4.8), layout="constrained")
    axis = figure.subplots()
    plot(axis, "bytes", 9)
    axis.set(ylabel="top-1, CIFAR-10", title="Accuracy against bytes of the whole file: further up and to the left is better")
    axis.legend(loc="lower right")
    figure.savefig(FIRST_PICTURE, dpi=110)
    figure = NotebookFigure(figsize=(12, 9), layout="constrained")
    for axis, cost in zip(figure.subplots(2, 2, sharey=True).flat, COSTS, strict=True):
        plot(axis, cost, 7)
        axis.set(ylabel="top-1" if cost in ("bytes", "macs") else "")
    figure.legend(*figure.axes[2].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(PICTURE, dpi=100)


def drawn_anew() -> None:
    """Page, pictures, the README's table."""
    atomic_io.write_text(PAGE, page((RUNS / "page.md").read_text(encoding="utf-8")))
    atomic_io.write_text(README, with_models(README.read_text(encoding="utf-8")))
    draw()


if __name__ == "__main__":
    drawn_anew()
