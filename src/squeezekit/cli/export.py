"""`squeezekit export`."""

from __future__ import annotations

import argparse
import json as jsonlib


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `export`."""
    parser.epilog = """examples:
  squeezekit export runs/photos --to onnx -o photos.onnx
  squeezekit export runs/photos --to onnx --int8 -o photos-int8.onnx
  squeezekit export photos.sqz --to onnx --int8 --data photos/ -o photos-int8.onnx"""
    parser.add_argument("model", metavar="MODEL", help="a run folder or a .sqz file")
    parser.add_argument("--to", choices=["onnx"], required=True, help="onnx: for ONNX Runtime and whatever reads ONNX")
    parser.add_argument("-o", dest="out", metavar="FILE", required=True, help="the file to write")
    parser.add_argument("--int8", action="store_true", help="in eight bits, calibrated on training images")
    parser.add_argument("--data", metavar="DATA", help="where the images for --int8 are, which a .sqz file needs")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(*, model: str, to: str, out: str, json: bool = False, **options: str) -> int:
    """Export, print what was written."""
    from squeezekit.deployment.onnx import export_onnx

    made = export_onnx(model, out, **options)  # type: ignore[arg-type]
    if json:
        print(jsonlib.dumps(made.as_json()))
        return 0
    if made.validation:
        before, after = made.validation["before"], made.validation["after"]
        print(f"validation accuracy {before:.2%} before, {after:.2%} in eight bits")
    print(f"{made.file}: {made.bytes:,} bytes, opset {made.opset}")
    return 0
