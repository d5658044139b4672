"""`squeezekit search`."""

from __future__ import annotations

from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.cli.settings_flags import add_settings
from squeezekit.system.standard_output import show, show_json, show_table

LIMITS = {
    "parameters": "parameters",
    "macs": "multiply-adds of one image",
    "bytes": "bytes of int8 weights",
    "ram": "bytes of RAM that feature maps take as C",
}
SHOWN = 10
NOTES = """A search space is a TOML file with tables [network] and [recipe]. A list is a
choice, a table {low, high, log, steps} is a range:
  [network]
  squeeze_ratio = [0.125, 0.25, 0.5]
  [recipe]
  learning_rate = {low = 0.001, high = 0.1, log = true}

The same command continues a study that was stopped; with --storage, on any
number of machines."""


def add_arguments(parser: Parser) -> None:
    """The flags of `search`."""
    parser.explain(
        "search --data digits --space learning-rate --sampler grid --epochs 5 -o studies/rate",
        "search --data digits --network nano --trials 10 --max-bytes 131072 -o studies/small",
        usage="--data DATA -o STUDY [--space SPACE] [settings]",
        notes=NOTES,
    )
    add_settings(parser, leave={"test"})
    spaces = "learning-rate, classic, fire-size, regularization, or a TOML file"
    parser.add_argument("--space", metavar="SPACE", help=f"{spaces} (default classic)")
    parser.add_argument("--sampler", choices=["grid", "random", "tpe", "nsga2"], help="how points are chosen (default tpe)")
    parser.add_argument("--trials", type=int, metavar="N", help="points to try; a grid tries all (default 50)")
    add_jobs(parser, "trials")
    parser.add_argument("--pruner", choices=["halving", "hyperband", "none"], help="stops poor trials early (default halving)")
    parser.add_argument(
        "--size", choices=list(LIMITS), help="the size to minimise along with the validation loss (default parameters)"
    )
    for name, what in LIMITS.items():
        parser.add_argument(f"--max-{name}", type=int, metavar="N", help=f"largest number of {what}")
    parser.add_out("STUDY", "folder of the study and its runs")
    parser.add_argument("--no-test", dest="test", action="store_false", help="do not measure the test images at the end")
    parser.add_json()
    parser.set_defaults(run=run)


def add_jobs(parser: Parser, what: str) -> None:
    """Where a study runs: here or on a cluster, and in which database it is."""
    parser.add_argument(
        "--jobs", type=int, metavar="N", help=f"{what} at once (default 1; on a cluster one for each GPU, or else node)"
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help=parser.seldom("train on a Ray cluster: auto, or its head's host:port")
    )
    storage = "database of the study, such as postgresql://… (default: a file in STUDY)"
    parser.add_argument("--storage", metavar="URL", help=parser.seldom(storage))
    grace = "a worker that is silent for so long counts as dead (default 30)"
    parser.add_argument("--grace", type=int, metavar="SECONDS", help=parser.seldom(grace))


def run(*, json: bool = False, **options: Any) -> int:
    """Search, print the best and the recommended network."""
    import squeezekit as sk
    from squeezekit.search.live_table import described

    limits = {name: options.pop(f"max_{name}") for name in LIMITS if f"max_{name}" in options}
    size = options.get("size", "parameters")
    found = sk.search(options.pop("data", None), limits=limits, **options)
    if json:
        show_json(found.as_json())
        return 0
    curves = {row.point: curve for row, curve in zip(found.rows, found.curves, strict=True)}
    done = sorted((row for row in found.rows if row.state == "done"), key=lambda row: row.loss or 0.0)
    rows = []
    for row in done[:SHOWN]:
        marks = ["recommended"] * (row.point == found.recommended) + ["Pareto front"] * (row.point in found.front)
        numbers = [f"{row.loss:.4f}", f"{row.accuracy:.2%}", curves[row.point], f"{row.sizes[size]:,}"]
        rows.append([str(row.point), described(row), *numbers, ", ".join(marks)])
    show_table(["trial", "settings", "validation loss", "accuracy", "curve", size, ""], rows, folds=["settings"])
    best = next(row for row in found.rows if row.point == found.recommended)
    show(f"recommended  trial {best.point}: {described(best)}, {best.sizes[size]:,} {size}")
    show(f"validation   accuracy {best.accuracy:.2%}  loss {best.loss:.4f}")
    if found.test:
        show(f"test         accuracy {found.test['accuracy']:.2%}  loss {found.test['loss']:.4f}")
    show(f"run          {found.run or 'on the machine that trained it'}")
    show(f"trials       {len(found.rows)}, {len(done)} finished; all in {found.study}/trials.csv; {found.seconds:.0f} s")
    return 0
