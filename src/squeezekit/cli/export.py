"""`squeezekit export`."""

from __future__ import annotations

import argparse
import json as jsonlib
from typing import TYPE_CHECKING

from squeezekit.errors import SqueezekitError

if TYPE_CHECKING:
    from squeezekit.deployment.c import CExport
    from squeezekit.deployment.onnx import OnnxExport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `export`."""
    parser.epilog = """examples:
  squeezekit export runs/photos --to onnx -o photos.onnx
  squeezekit export runs/photos --to onnx --int8 -o photos-int8.onnx
  squeezekit export photos.sqz --to onnx --int8 --data photos/ -o photos-int8.onnx
  squeezekit export runs/photos --to c -o photos-c
  squeezekit export photos.sqz --to c --weights sqz -o photos-c"""
    parser.add_argument("model", metavar="MODEL", help="a run folder or a .sqz file")
    kinds = "onnx: for ONNX Runtime and whatever reads ONNX; c: C99 in integers, for any chip"
    parser.add_argument("--to", choices=["onnx", "c"], required=True, help=kinds)
    parser.add_argument("-o", dest="out", metavar="OUT", required=True, help="the file to write; for c, the folder")
    parser.add_argument("--int8", action="store_true", help="onnx: in eight bits, calibrated on training images")
    parser.add_argument(
        "--weights", choices=["plain", "sqz"], help="c: weights as constants (plain), or entropy-coded and decoded at start (sqz)"
    )
    parser.add_argument("--data", metavar="DATA", help="where the images to calibrate and measure on are, for a .sqz file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(*, to: str, json: bool = False, **options: str) -> int:
    """Export, print what was written."""
    wrong = {"c": "int8", "onnx": "weights"}[to]
    if wrong in options:
        raise SqueezekitError(f"--{wrong} says nothing for --to {to}; leave it out")
    made = _to_onnx(**options) if to == "onnx" else _to_c(**options)
    if json:
        print(jsonlib.dumps(made.as_json()))
        return 0
    if made.validation:
        before, after = made.validation["before"], made.validation["after"]
        print(f"validation accuracy {before:.2%} before, {after:.2%} in eight bits")
    for line in made.lines():
        print(line)
    return 0


def _to_onnx(model: str, out: str, **options: str) -> OnnxExport:
    from squeezekit.deployment.onnx import export_onnx

    return export_onnx(model, out, **options)  # type: ignore[arg-type]


def _to_c(model: str, out: str, **options: str) -> CExport:
    from squeezekit.deployment.c import export_c

    return export_c(model, out, **options)  # type: ignore[arg-type]
