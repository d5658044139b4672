"""`squeezekit train`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from squeezekit.cli.fields import add_settings
from squeezekit.system.console import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `train`."""
    parser.epilog = """examples:
  squeezekit train --data digits --out runs/digits
  squeezekit train --data photos/ --network squeezenet-late --epochs 40 --out runs/photos
  squeezekit train --data photos/ --recipe classic --squeeze-ratio 0.25 --learning-rate 0.0005
  squeezekit train --data photos/ --init-from cifar10-small --epochs 10
  squeezekit train --resume --out runs/photos"""
    parser.usage = "%(prog)s --data DATA [--network NAME] [--recipe NAME] [--out DIR] [any field below]"
    init_from = "start from a run, a .sqz, a name in squeezekit models, or a .safetensors or .pth file of weights"
    parser.add_argument("--init-from", metavar="MODEL", help=init_from)
    parser.add_argument("--out", metavar="DIR", help="the run folder to make (default runs/DATE-TIME)")
    parser.add_argument("--resume", action="store_true", help="go on with --out where it stopped; starts a missing one")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--no-test", dest="test", action="store_false", help="leave the test images alone")
    add_settings(parser, leave={"test"})
    parser.set_defaults(run=run)


def run(*, json: bool = False, **settings: Any) -> int:
    """Train, draw the curves, print the result."""
    from squeezekit.reporting.figures import draw_curves
    from squeezekit.training.distributed import rank
    from squeezekit.workflows.train import train

    finished = train(**settings)
    if rank() > 0:
        return 0
    curves = draw_curves(finished.folder)
    summary = finished.summary or {}
    if json:
        _print_json(summary)
        return 0
    for part in ("validation", "test"):
        if part in summary:
            print(f"{part:<10}  accuracy {summary[part]['accuracy']:.2%}  loss {summary[part]['loss']:.4f}")
    print(f"{'parameters':<10}  {summary['parameters']:,}")
    print(f"{'epochs':<10}  {summary['epochs']} in {summary['seconds']:.0f} s, {summary['images_per_s']:.0f} images/s")
    print(f"{'run':<10}  {finished.folder}")
    say(f"curves in {curves}; next: squeezekit evaluate {finished.folder}")
    return 0


def _print_json(summary: dict[str, Any]) -> None:
    print(json.dumps(summary))
