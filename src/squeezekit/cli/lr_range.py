"""`squeezekit lr-range`."""

from __future__ import annotations

import argparse
import json as jsonlib
from pathlib import Path
from typing import Any

from squeezekit.cli.fields import add_settings
from squeezekit.system.console import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `lr-range`."""
    parser.epilog = """examples:
  squeezekit lr-range --data digits
  squeezekit lr-range --data cifar10 --network squeezenet-late --from 0.0001 --to 10 --plot rate.png"""
    parser.usage = "%(prog)s --data DATA [--from RATE] [--to RATE] [--plot FILE] [any field below]"
    parser.add_argument("--from", dest="from_rate", type=float, metavar="RATE", help="the first rate (default 0.00001)")
    parser.add_argument("--to", dest="to_rate", type=float, metavar="RATE", help="the last rate (default 1)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture of loss against rate, .png or .svg")
    parser.add_argument("--json", action="store_true", help="print rates and losses as JSON")
    add_settings(parser, leave={"test"})
    parser.set_defaults(run=run)


def run(*, json: bool = False, plot: Path | None = None, **options: Any) -> int:
    """Raise the rate, print the suggestion."""
    from squeezekit.reporting.figures import draw_rates
    from squeezekit.search.lr_range import lr_range

    found = lr_range(options.pop("data", None), **options)
    if plot:
        say(f"loss against rate in {draw_rates(found.rates, found.losses, found.suggested, plot)}")
    if json:
        print(jsonlib.dumps(found.as_json()))
        return 0
    print(f"lowest smoothed loss {min(found.losses):.4f} at rate {found.lowest:.2g}")
    muon = f" --muon-rate {found.muon_rate:g}" if found.muon_rate else ""
    print(f"suggested  --learning-rate {found.suggested:g}{muon}")
    return 0
