"""`squeezekit crossval`."""

from __future__ import annotations

import argparse
import json as jsonlib
from typing import Any

from squeezekit.cli.fields import add_settings

OWN = {"test", "folds", "fold"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `crossval`."""
    parser.epilog = """examples:
  squeezekit crossval --data digits --folds 5 --epochs 5 --out studies/plain
  squeezekit crossval --data digits --folds 5 --epochs 5 --no-batch-norm --against studies/plain --out studies/bare

the same command goes on with what was stopped."""
    parser.usage = "%(prog)s --data DATA --out STUDY [--folds K] [--repeats R] [--against STUDY] [any field below]"
    parser.add_argument("--out", metavar="STUDY", required=True, help="the folder of the runs and the result")
    parser.add_argument("--folds", type=int, metavar="K", help="parts of the training images (default 5)")
    parser.add_argument("--repeats", type=int, metavar="R", help="divide and train all anew so often (default 1)")
    parser.add_argument("--against", metavar="STUDY", help="a finished cross-validation on the same folds, to compare with")
    parser.add_argument("--jobs", type=int, metavar="N", help="folds at once (default 1; of a cluster: its GPUs, or else nodes)")
    parser.add_argument("--cluster", metavar="ADDRESS", help="train on a Ray cluster: auto, or its head's host:port")
    parser.add_argument("--storage", metavar="URL", help="database, such as postgresql://… (default a file in STUDY)")
    parser.add_argument("--grace", type=int, metavar="SECONDS", help="a worker silent for so long counts as dead (default 30)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_settings(parser, leave=OWN)
    parser.set_defaults(run=run)


def run(*, json: bool = False, **options: Any) -> int:
    """Cross-validate, print mean and spread."""
    from squeezekit.search.crossval import cross_validate

    found = cross_validate(options.pop("data", None), **options)
    if json:
        print(jsonlib.dumps(found.as_json()))
        return 0
    for name, form in (("accuracy", ".2%"), ("loss", ".4f")):
        spread = getattr(found, name)
        interval = f"{spread.low:{form}} to {spread.high:{form}}"
        print(f"{name:<9} {spread.mean:{form}}, deviation {spread.deviation:{form}}, 95 % interval of the mean {interval}")
    for name, comparison in found.against.items():
        print(
            f"{name:<9} {comparison.difference:+.4f} against {comparison.other}, p = {comparison.p:.3g} "
            "(corrected resampled t-test: normal differences, equally correlated between folds)"
        )
    print(f"all       {len(found.rows)} trainings in {found.study}/trials.csv; {found.seconds:.0f} s")
    return 0
