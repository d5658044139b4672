"""docs/results/compression.md and its picture: bytes and accuracy of three networks beside those of other programs.

    python scripts/compression_page.py

Written anew from the JSON lines in docs/runs/compression and docs/runs/coding; the text around the tables is
docs/runs/compression/page.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from squeezekit.system import atomic_io
from squeezekit.system.figures import NotebookFigure

DOCS = Path(__file__).parent.parent / "docs"
RUNS, CODING = DOCS / "runs" / "compression", DOCS / "runs" / "coding"
PAGE, PICTURE = DOCS / "results" / "compression.md", DOCS / "compression.png"
# The smallest first.
NETWORKS = ("fire-nano", "fire-tiny", "fast")
OURS = "squeezekit, PTQ"
# What the table calls the methods, and whose lines are one program's.
TABLE = {
    "float32": ("float32",),
    "float16": ("float16",),
    "float16 in gzip": ("float16 in gzip",),
    "float16 in zstd": ("float16 in zstd",),
    "ONNX Runtime int8": ("ONNX Runtime int8",),
    "TorchAO int8": ("TorchAO int8",),
    "NNCodec 2": ("nncodec", "nncodec, folded"),
    OURS: (OURS,),
}
# Lines of the picture: method, color, style, what it is called; and markers of those that have one file.
CURVES = (("nncodec", "C1", ".-", "NNCodec 2"), ("nncodec, folded", "C1", ".:", "NNCodec 2, folded"), (OURS, "C0", ".-", OURS))
POINTS = {"ONNX Runtime int8": "s", "TorchAO int8": "D", "float16 in zstd": "^"}
# Points of accuracy of the images that judge, which a chosen file may lose.
MAX_DROP = 0.5
Row = dict[str, Any]


def lines(path: Path) -> list[Row]:
    """Of a file of JSON lines."""
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def measured() -> list[str]:
    """The networks of which there are lines."""
    return [network for network in NETWORKS if (RUNS / f"{network}-peers.jsonl").exists()]


def rows_of(network: str) -> list[Row]:
    """Everything that was made of a network, without the lines that choose."""
    return [row for row in lines(RUNS / f"{network}-peers.jsonl") if "max_drop" not in row]


def lost(row: Row, rows: Sequence[Row], images: str = "validation") -> float:
    """Points of accuracy that it has lost against float32."""
    [before] = [other for other in rows if other["method"] == "float32"]
    return round(100 * (before[images] - row[images]), 2)


def chosen(rows: Sequence[Row], methods: Sequence[str], max_drop: float = MAX_DROP) -> Row | None:
    """The smallest that these methods made and that lost no more; test images have no say."""
    meeting = [row for row in rows if row["method"] in methods and lost(row, rows) <= max_drop]
    return min(meeting, key=lambda row: int(row["bytes"]), default=None)


def peers_table(network: str) -> str:
    """One row a method, each with its chosen file."""
    rows = rows_of(network)
    head = ["method", "setting", "bytes", "times smaller", "points lost, training images", "test", "points lost, test"]
    found = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, methods in TABLE.items():
        row = chosen(rows, methods)
        if row is None:
            continue
        mark = "**" if name == OURS else ""
        size = f"{mark}{row['bytes']:,}{mark}"
        graph = f" ({row['weights']:,} without the graph)" if "weights" in row else ""
        ratio = rows[0]["bytes"] / row["bytes"]
        losses = f"{lost(row, rows):.2f} | {row['test']:.2%} | {lost(row, rows, 'test'):.2f}"
        found.append(f"| {mark}{name}{mark} | {setting(row)} | {size}{graph} | {ratio:.1f} | {losses} |")
    return "\n".join(found)


def setting(row: Row) -> str:
    """In the words of the page."""
    said = str(row["setting"]).replace("PTQ at rate weight", "λ =")
    return f"{said}, normalisation folded" if row["method"].endswith(", folded") else said


def aims_table() -> str:
    """Bytes beside those of NNCodec."""
    head = ["network", "NNCodec 2", "squeezekit", "fewer", ""]
    found = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for network in measured():
        rows = rows_of(network)
        theirs, ours = (chosen(rows, TABLE[name]) for name in ("NNCodec 2", OURS))
        assert theirs and ours
        fewer = 1 - ours["bytes"] / theirs["bytes"]
        found.append(
            f"| `{network}` | {theirs['bytes']:,} | {ours['bytes']:,} | {fewer:.1%} | {'met' if fewer >= 0.4 else '**missed**'} |"
        )
    return "\n".join(found)


def coder_table() -> str:
    """The coder alone, beside those that were installed."""
    rows = lines(CODING / "coding.jsonl")
    others = [name for name in ("huffman", "xz", "brotli", "zstd", "nncodec") if name in rows[0]]
    head = ["network", "step", "order-0 entropy", *others, "squeezekit", "of the entropy"]
    found = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        sizes = " | ".join(f"{row[name]:,}" for name in ("entropy", *others))
        found.append(f"| `{row['run']}` | {row['step']} | {sizes} | **{row['squeezekit']:,}** | {row['of_entropy']} |")
    return "\n".join(found)


def times_table() -> str:
    """First and last answers."""
    head = ["run", "flags", "first answer", "bytes", "last answer", "bytes", "points lost, validation", "test", "load"]
    found = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in lines(RUNS / "time.jsonl"):
        cells = [row["run"], f"`{row['flags']}`"]
        for answer in (row["first"], row["last"]):
            cells += [f"{answer['seconds']:.0f} s ({answer['processor_s']:.0f} s)", f"{answer['bytes']:,}"]
        before, after = row["validation"].values()
        cells += [f"{100 * (before - after):.2f}", f"{row['test']['after']:.2%}", f"{max(row['load']):.0f}"]
        found.append(f"| {' | '.join(cells)} |")
    return "\n".join(found)


def page(text: str) -> str:
    """The whole page, in Markdown: the tables stand in `text` where it names them in braces."""
    peers = "\n\n".join(f"### `{network}`\n\n{peers_table(network)}" for network in measured())
    for name, table in {"peers": peers, "aims": aims_table(), "coder": coder_table(), "times": times_table()}.items():
        text = text.replace(f"{{{name}}}", table)
    return text


def plot(axis: Axes, network: str) -> None:
    """Points of test accuracy lost against bytes."""
    rows = [row for row in rows_of(network) if "test" in row]
    for method, color, style, name in CURVES:
        own = sorted((row for row in rows if row["method"] == method), key=lambda row: int(row["bytes"]))
        axis.plot([row["bytes"] for row in own], [lost(row, rows, "test") for row in own], style, color=color, label=name)
    for row in rows:
        if row["method"] in POINTS:
            place = row.get("weights", row["bytes"]), lost(row, rows, "test")
            axis.plot(*place, POINTS[row["method"]], color="0.45", label=row["method"])
    axis.axhline(MAX_DROP, color="0.7", linewidth=0.8)
    axis.set(xscale="log", xlabel="bytes", title=network)
    # Further down nobody would use them.
    axis.set_ylim(3.3, -0.4)
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))


def draw() -> None:
    """A panel for each network."""
    networks = measured()
    figure = NotebookFigure(figsize=(5 + 3.5 * len(networks), 4.8), layout="constrained")
    for axis, network in zip(figure.subplots(1, len(networks), sharey=True, squeeze=False).flat, networks, strict=True):
        plot(axis, network)
    figure.axes[0].set_ylabel("points of test accuracy lost")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    figure.savefig(PICTURE, dpi=100)


if __name__ == "__main__":
    atomic_io.write_text(PAGE, page((RUNS / "page.md").read_text(encoding="utf-8")))
    draw()
