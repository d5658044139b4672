"""`squeezekit export`."""

from __future__ import annotations

import argparse
import json as jsonlib
from collections.abc import Callable
from typing import Any, Protocol

from squeezekit.system.errors import SqueezekitError


class Export(Protocol):
    """What was written, of any kind."""

    @property
    def validation(self) -> dict[str, float]:
        """Accuracy `before` and `after`, or nothing."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""

    def lines(self) -> list[str]:
        """For a reader."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `export`."""
    parser.epilog = """examples:
  squeezekit export runs/photos --to onnx -o photos.onnx
  squeezekit export runs/photos --to onnx --int8 -o photos-int8.onnx
  squeezekit export photos.sqz --to onnx --int8 --data photos/ -o photos-int8.onnx
  squeezekit export runs/photos --to c -o photos-c
  squeezekit export photos.sqz --to c --weights sqz -o photos-c
  squeezekit export photos.sqz --to html -o photos.html"""
    parser.add_argument("model", metavar="MODEL", help="a run folder, a .sqz file, or a name that squeezekit models lists")
    kinds = "onnx: for ONNX Runtime and whatever reads ONNX; c: C99 in integers, for any chip; html: one page for any browser"
    parser.add_argument("--to", choices=["onnx", "c", "html"], required=True, help=kinds)
    parser.add_argument("-o", dest="out", metavar="OUT", required=True, help="the file to write; for c, the folder")
    parser.add_argument("--int8", action="store_true", help="onnx: in eight bits, calibrated on training images")
    parser.add_argument(
        "--weights", choices=["plain", "sqz"], help="c: weights as constants (plain), or entropy-coded and decoded at start (sqz)"
    )
    parser.add_argument("--data", metavar="DATA", help="where the images to calibrate and measure on are, for a .sqz file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(*, to: str, json: bool = False, **options: Any) -> int:
    """Export, print what was written."""
    for flag, owner in (("int8", "onnx"), ("weights", "c")):
        if flag in options and to != owner:
            raise SqueezekitError(f"--{flag} says nothing for --to {to}; leave it out")
    made = _exporter(to)(**options)
    if json:
        print(jsonlib.dumps(made.as_json()))
        return 0
    if made.validation:
        before, after = made.validation["before"], made.validation["after"]
        print(f"validation accuracy {before:.2%} before, {after:.2%} in eight bits")
    for line in made.lines():
        print(line)
    return 0


def _exporter(to: str) -> Callable[..., Export]:
    if to == "onnx":
        from squeezekit.export.onnx import export_onnx

        return export_onnx
    if to == "c":
        from squeezekit.export.c.export import export_c

        return export_c
    from squeezekit.export.html.export import export_html

    return export_html
