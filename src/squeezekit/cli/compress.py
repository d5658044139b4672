"""`squeezekit compress`."""

from __future__ import annotations

import argparse
import json as jsonlib
from typing import Any

from squeezekit.system.console import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `compress`."""
    parser.epilog = """examples:
  squeezekit compress runs/photos -o photos.sqz
  squeezekit compress runs/photos --max-drop 1 --epochs 8 -o photos.sqz
  squeezekit compress runs/photos --max-bytes 100000 -o photos.sqz
  squeezekit compress runs/tuned --delta-from photos.sqz -o photos-2.sqz"""
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("-o", dest="out", metavar="FILE", required=True, help="the .sqz file to write")
    parser.add_argument("--max-drop", type=float, metavar="POINTS", help="most points of validation accuracy to lose (0.5)")
    parser.add_argument("--max-bytes", type=int, metavar="N", help="most bytes; then accuracy is what it comes to")
    parser.add_argument("--method", metavar="NAME", help="squeezekit, or deep-compression as published (squeezekit)")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs of each round of training (4; small sets: 400 steps)")
    parser.add_argument(
        "--rate-weight", type=float, metavar="λ", help="a single QAT round, at just this λ or from there to --max-bytes"
    )
    parser.add_argument("--delta-from", metavar="FILE", help="make the delta from this .sqz file small (publish)")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no round of training after so long (0: PTQ only)")
    parser.add_argument("--data", metavar="DATA", help="where the run's images are now")
    parser.add_argument("--teacher", metavar="RUN", help="learn the answers of this run's network (the run's own)")
    parser.add_argument("--device", metavar="NAME", help="where to train and measure: cpu, cuda or auto (auto)")
    parser.add_argument("--resume", action="store_true", help="go on with what was stopped")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(*, run_folder: str, out: str, json: bool = False, **options: Any) -> int:
    """Compress, print the story; 1 when the target is missed."""
    from squeezekit.compression.compress import compress

    result = compress(run_folder, out, **options)
    if json:
        print(jsonlib.dumps(result.as_json()))
    else:
        for stage in result.stages:
            print(
                f"{stage.name:<36} {stage.bytes:>10,} bytes  {stage.density:6.1%} not zero  "
                f"{stage.bits:6.3f} bits a weight  validation {stage.accuracy:.2%}"
            )
        if result.test:
            print(f"test accuracy {result.test.before:.2%} before, {result.test.after:.2%} after")
        print(f"{result.file}: {result.bytes:,} bytes, {result.ratio:.1f} times smaller, in {result.seconds:.0f} s")
        if result.delta_bytes is not None:
            print(f"delta from {options['delta_from']}: {result.delta_bytes:,} bytes ({result.delta_bytes / result.bytes:.1%})")
    if not result.met_target:
        say(f"target missed: {result.file} is the closest; allow a larger --max-drop or --max-bytes, or give more --epochs")
    return 0 if result.met_target else 1
