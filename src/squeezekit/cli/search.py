"""`squeezekit search`."""

from __future__ import annotations

import argparse
import json as jsonlib
from typing import Any

from rich.console import Console
from rich.table import Table

from squeezekit.cli.fields import add_settings

LIMITS = {
    "parameters": "parameters",
    "macs": "multiply-adds of one image",
    "bytes": "bytes of int8 weights",
    "ram": "bytes of int8 activations at once",
}
SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `search`."""
    parser.epilog = """examples:
  squeezekit search --data digits --space learning-rate --sampler grid --epochs 5 --out studies/rate
  squeezekit search --data cifar10 --space classic --sampler grid --epochs 6 --limit 12000 --jobs 2 --out studies/classic
  squeezekit search --data photos/ --space mine.toml --trials 100 --max-bytes 131072 --max-ram 65536 --out studies/mine

a space is a TOML file with tables [network] and [recipe]: a list is a choice, {low, high, log, steps} a range:
  [network]
  squeeze_ratio = [0.125, 0.25, 0.5]
  [recipe]
  learning_rate = {low = 0.001, high = 0.1, log = true}

the same command goes on with a study that was stopped; with --storage, on any number of machines."""
    parser.usage = "%(prog)s --data DATA --out STUDY [--space SPACE] [--sampler NAME] [--trials N] [any field below]"
    parser.add_argument("--out", metavar="STUDY", required=True, help="the folder of the study and its runs")
    spaces = "learning-rate, classic, fire-size, regularization, or a TOML file"
    parser.add_argument("--space", metavar="SPACE", help=f"{spaces} (default classic)")
    parser.add_argument("--sampler", choices=["grid", "random", "tpe", "nsga2"], help="how points are chosen (default tpe)")
    parser.add_argument("--trials", type=int, metavar="N", help="points to try; a grid tries all (default 50)")
    parser.add_argument("--jobs", type=int, metavar="N", help="trials at once (default 1; of a cluster: its GPUs, or else nodes)")
    parser.add_argument("--cluster", metavar="ADDRESS", help="train on a Ray cluster: auto, or its head's host:port")
    parser.add_argument("--pruner", choices=["halving", "hyperband", "none"], help="stops hopeless trials (default halving)")
    parser.add_argument("--size", choices=list(LIMITS), help="what is kept small (default parameters)")
    for name, what in LIMITS.items():
        parser.add_argument(f"--max-{name}", type=int, metavar="N", help=f"most {what}")
    parser.add_argument(
        "--storage", metavar="URL", help="database of the study, such as postgresql://… (default a file in STUDY)"
    )
    parser.add_argument("--grace", type=int, metavar="SECONDS", help="a worker silent for so long counts as dead (default 30)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--no-test", dest="test", action="store_false", help="leave the test images alone")
    add_settings(parser, leave={"test"})
    parser.set_defaults(run=run)


def run(*, json: bool = False, **options: Any) -> int:
    """Search, print the best and the recommended network."""
    from squeezekit.search.live_table import described
    from squeezekit.search.search import search

    limits = {name: options.pop(f"max_{name}") for name in LIMITS if f"max_{name}" in options}
    size = options.get("size", "parameters")
    found = search(options.pop("data", None), limits=limits, **options)
    if json:
        print(jsonlib.dumps(found.as_json()))
        return 0
    table = Table("trial", "fields", "validation loss", "accuracy", "curve", size, "")
    curves = {row.point: curve for row, curve in zip(found.rows, found.curves, strict=True)}
    done = sorted((row for row in found.rows if row.state == "done"), key=lambda row: row.loss or 0.0)
    for row in done[:SHOWN]:
        marks = ["recommended"] * (row.point == found.recommended) + ["front"] * (row.point in found.front)
        table.add_row(
            str(row.point),
            described(row),
            f"{row.loss:.4f}",
            f"{row.accuracy:.2%}",
            curves[row.point],
            f"{row.sizes[size]:,}",
            ", ".join(marks),
        )
    Console(highlight=False).print(table)
    best = next(row for row in found.rows if row.point == found.recommended)
    print(f"recommended  trial {best.point}: {described(best)}, {best.sizes[size]:,} {size}")
    print(f"validation   accuracy {best.accuracy:.2%}  loss {best.loss:.4f}")
    if found.test:
        print(f"test         accuracy {found.test['accuracy']:.2%}  loss {found.test['loss']:.4f}")
    print(f"run          {found.run or 'on the machine that trained it'}")
    print(f"all          {len(found.rows)} trials, {len(done)} to the end, in {found.study}/trials.csv; {found.seconds:.0f} s")
    return 0
