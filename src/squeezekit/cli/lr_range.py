"""`squeezekit lr-range`."""

from __future__ import annotations

import argparse
import json as jsonlib
from pathlib import Path
from typing import Any

from squeezekit.cli.fields import add_fields
from squeezekit.networks.catalogue import NETWORKS
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.screen import say
from squeezekit.training.recipe import RECIPES, Recipe
from squeezekit.training.settings import RunSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `lr-range`."""
    parser.epilog = """examples:
  squeezekit lr-range --data digits
  squeezekit lr-range --data cifar10 --network late --from 0.0001 --to 10 --plot rate.png"""
    parser.usage = "%(prog)s --data DATA [--from RATE] [--to RATE] [--plot FILE] [any field below]"
    parser.add_argument("--from", dest="from_rate", type=float, metavar="RATE", help="the first rate (default 0.00001)")
    parser.add_argument("--to", dest="to_rate", type=float, metavar="RATE", help="the last rate (default 1)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture of loss against rate, .png or .svg")
    parser.add_argument("--network", metavar="NAME", help=f"preset: {', '.join(NETWORKS)} (default report)")
    parser.add_argument("--recipe", metavar="NAME", help=f"preset: {', '.join(RECIPES)} (default modern)")
    parser.add_argument("--config", metavar="FILE", help="TOML file with tables [network], [recipe], [run]; flags win")
    parser.add_argument("--json", action="store_true", help="print rates and losses as JSON")
    add_fields(parser, "run", RunSettings, leave={"test"})
    add_fields(parser, "network (defaults: those of report)", SqueezeNetConfig, leave={"name"})
    add_fields(parser, "recipe", Recipe, leave={"name"}, presets=RECIPES)
    parser.set_defaults(run=run)


def run(*, json: bool = False, plot: Path | None = None, **options: Any) -> int:
    """Raise the rate, print the suggestion."""
    from squeezekit.errors import SqueezekitError
    from squeezekit.reporting.figures import draw_rates
    from squeezekit.search.lr_range import lr_range

    if "data" not in options:
        raise SqueezekitError("no images are named; give --data digits, cifar10 or FOLDER")
    found = lr_range(**options)
    if plot:
        say(f"loss against rate in {draw_rates(found.rates, found.losses, found.suggested, plot)}")
    if json:
        print(jsonlib.dumps(found.as_json()))
        return 0
    print(f"lowest smoothed loss {min(found.losses):.4f} at rate {found.lowest:.2g}")
    muon = f" --muon-rate {found.muon_rate:g}" if found.muon_rate else ""
    print(f"suggested  --learning-rate {found.suggested:g}{muon}")
    return 0
