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
  squeezekit export runs/photos --format onnx -o photos.onnx
  squeezekit export runs/photos --format onnx --int8 -o photos-int8.onnx
  squeezekit export photos.sqz --format onnx --int8 --data photos/ -o photos-int8.onnx
  squeezekit export runs/photos --format c -o photos-c
  squeezekit export photos.sqz --format c --store-weights coded -o photos-c
  squeezekit export photos.sqz --format html -o photos.html"""
    parser.add_argument("model", metavar="MODEL", help="a run folder, a .sqz file, or a name that squeezekit models lists")
    kinds = "onnx: for ONNX Runtime and whatever reads ONNX; c: C99 in integers, for any chip; html: one page for any browser"
    parser.add_argument("--format", choices=["onnx", "c", "html"], required=True, help=kinds)
    parser.add_argument("-o", dest="out", metavar="OUT", required=True, help="the file to write; for c, the folder")
    parser.add_argument("--int8", action="store_true", help="onnx: in eight bits, calibrated on training images")
    parser.add_argument(
        "--store-weights", choices=["constants", "coded"], help="c: weights as constants, or entropy-coded and decoded at start"
    )
    parser.add_argument("--data", metavar="DATA", help="where the images to calibrate and measure on are, for a .sqz file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(*, format: str, json: bool = False, **options: Any) -> int:
    """Export, print what was written."""
    for flag, owner in (("int8", "onnx"), ("store_weights", "c")):
        if flag in options and format != owner:
            raise SqueezekitError(f"--{flag.replace('_', '-')} says nothing for --format {format}; leave it out")
    made = _exporter(format)(**options)
    if json:
        print(jsonlib.dumps(made.as_json()))
        return 0
    if made.validation:
        before, after = made.validation["before"], made.validation["after"]
        print(f"validation accuracy {before:.2%} before, {after:.2%} in eight bits")
    for line in made.lines():
        print(line)
    return 0


def _exporter(format: str) -> Callable[..., Export]:
    if format == "onnx":
        from squeezekit.export.onnx import export_onnx

        return export_onnx
    if format == "c":
        from squeezekit.export.c.export import export_c

        return export_c
    from squeezekit.export.html.export import export_html

    return export_html
