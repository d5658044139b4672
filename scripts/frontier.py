"""The frontier: docs/results/frontier.md and its picture, accuracy against MACs and parameters, ours beside published figures.

    python scripts/frontier.py

Drawn anew from docs/runs/frontier, where scripts/frontier_rows.py puts what it has trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezekit.system import atomic_io
from squeezekit.system.figures import NotebookFigure

DOCS = Path(__file__).parent.parent / "docs"
RUNS = DOCS / "runs" / "frontier"
PAGE, PICTURE = DOCS / "results" / "frontier.md", DOCS / "frontier.png"
HEAD = """| network | MACs | parameters | top-1 | of the 1,000 official | epochs | published |
|---|---|---|---|---|---|---|"""

PUBLISHED_HEAD = """| network | MACs | parameters | top-1 | epochs | source |
|---|---|---|---|---|---|"""


def rows_of(name: str) -> list[dict[str, Any]]:
    """Of a file of JSON lines; none where it is missing."""
    path = RUNS / name
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def page(ours: Sequence[dict[str, Any]], published: Sequence[dict[str, Any]], text: str) -> str:
    """The whole page, in Markdown: the tables stand in `text` where it says {table} and {published}."""
    known = {row["network"]: row for row in published if "network" in row}
    lines = [HEAD]
    for row in sorted(ours, key=lambda row: row["macs"]):
        beside = known.get(row["network"])
        theirs = f"{beside['accuracy']:.1%} after {beside['epochs']} epochs" if beside else ""
        taught = " with a teacher" if row["teacher"] else ""
        numbers = f"{row['macs'] / 1e6:.1f} M | {row['parameters']:,} | {row['accuracy']:.2%} | {row['official']:.1%}"
        lines.append(f"| `{row['network']}` | {numbers} | {row['epochs']}{taught} | {theirs} |")
    others = [PUBLISHED_HEAD]
    for row in sorted(published, key=lambda row: row["macs"]):
        numbers = f"{row['macs'] / 1e6:.1f} M | {row['parameters']:,} | {row['accuracy']:.2%} | {row['epochs']}"
        others.append(f"| {row['name']} | {numbers} | {row['source']} |")
    return text.replace("{table}", "\n".join(lines)).replace("{published}", "\n".join(others))


def draw(ours: Sequence[dict[str, Any]], published: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy against MACs and against parameters, both logarithmic; what others published is hollow."""
    figure = NotebookFigure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    own = [row for row in ours if row["network"] not in {other.get("network") for other in published}]
    again = [row for row in ours if row not in own]
    kinds = (("squeezekit", own, "o", "C0", "C0"), ("others' networks, our training", again, "s", "C1", "C1"))
    for axis, what in zip(axes, ("macs", "parameters"), strict=True):
        for label, rows, marker, edge, face in (*kinds, ("published", published, "o", "0.4", "none")):
            places = [row[what] for row in rows]
            axis.scatter(places, [row["accuracy"] for row in rows], marker=marker, edgecolors=edge, facecolors=face, label=label)
            for row in rows:
                name = row.get("name") or row["network"]
                axis.annotate(name, (row[what], row["accuracy"]), xytext=(4, 4), textcoords="offset points", fontsize=7)
        axis.set(xscale="log", xlabel="MACs of one image" if what == "macs" else what)
        axis.margins(x=0.15)
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="top-1")
    axes[0].yaxis.set_major_formatter("{x:.0%}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=100)


def drawn_anew() -> None:
    """Page and picture."""
    ours, published = rows_of("rows.jsonl"), rows_of("published.jsonl")
    atomic_io.write_text(PAGE, page(ours, published, (RUNS / "page.md").read_text(encoding="utf-8")))
    draw(ours, published, PICTURE)


if __name__ == "__main__":
    drawn_anew()
