"""`squeezekit cross-validate`."""

from __future__ import annotations

from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.cli.search import add_jobs
from squeezekit.cli.settings_flags import add_settings
from squeezekit.system.standard_output import show, show_json


def add_arguments(parser: Parser) -> None:
    """The flags of `cross-validate`."""
    parser.explain(
        "cross-validate --data digits --epochs 5 -o studies/a",
        "cross-validate --data digits --epochs 5 --recipe fast --against studies/a -o studies/b",
        usage="--data DATA -o STUDY [settings]",
        notes="The same command continues what was stopped.",
    )
    add_settings(parser, leave={"test", "folds", "fold"})
    parser.add_argument("--folds", type=int, metavar="K", help="number of folds of the training images (default 5)")
    parser.add_argument("--repeats", type=int, metavar="R", help="repeat with other seeds, R times in all (default 1)")
    parser.add_argument("--against", metavar="STUDY", help="a finished cross-validation on the same folds, to compare with")
    add_jobs(parser, "folds")
    parser.add_out("STUDY", "folder of the runs and the result")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, json: bool = False, **options: Any) -> int:
    """Cross-validate, print mean and spread."""
    import squeezekit as sk

    found = sk.cross_validate(options.pop("data", None), **options)
    if json:
        show_json(found.as_json())
        return 0
    for name, form in (("accuracy", ".2%"), ("loss", ".4f")):
        spread = getattr(found, name)
        interval = f"{spread.low:{form}} to {spread.high:{form}}"
        show(f"{name:<9} {spread.mean:{form}}, deviation {spread.deviation:{form}}, 95 % interval of the mean {interval}")
    for name, comparison in found.against.items():
        show(
            f"{name:<9} {comparison.difference:+.4f} against {comparison.other}, p = {comparison.p:.3g} "
            "(corrected resampled t-test: normal differences, equally correlated between folds)"
        )
    show(f"trainings {len(found.rows)}, all in {found.study}/trials.csv; {found.seconds:.0f} s")
    return 0
