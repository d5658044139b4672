"""`squeezekit inspect`."""

from __future__ import annotations

import argparse
import json as jsonlib

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `inspect`."""
    parser.epilog = """examples:
  squeezekit inspect photos.sqz
  squeezekit inspect cifar10-tiny --json"""
    parser.add_argument("file", metavar="FILE", help="a .sqz file, or a name that squeezekit models lists")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(*, file: str, json: bool = False) -> int:
    """Print what a file holds; 1 when its network does not answer as it should."""
    from squeezekit.modelfile.inspection import inspect
    from squeezekit.pretrained.files import model_path

    found = inspect(model_path(file))
    if json:
        print(jsonlib.dumps(found.as_json()))
        return 1 if found.self_check is False else 0
    console = Console(highlight=False)
    table = Table("layer", "form", "shape", "numbers", "not zero", "bytes", "bits each")
    for part in found.parts:
        shape = "×".join(str(side) for side in part.shape)
        numbers = (f"{part.numbers:,}", f"{part.density:.1%}", f"{part.bytes:,}", f"{part.bits:.2f}")
        table.add_row(escape(part.name), part.form, shape, *numbers)
    console.print(table)
    sections = ", ".join(f"{tag} {size:,}" for tag, size in found.sections.items())
    print(f"{found.bytes:,} bytes, {found.numbers:,} numbers, {found.bits:.3f} bits each; bytes by section: {sections}")
    print(f"network {found.network['name']}, {len(found.classes)} classes: {', '.join(found.classes)}")
    if found.stages:
        table = Table("stage", "bytes", "not zero", "bits a weight", "validation accuracy")
        for stage in found.stages:
            numbers = (f"{stage['bytes']:,}", f"{stage['density']:.1%}", f"{stage['bits']:.3f}", f"{stage['accuracy']:.2%}")
            table.add_row(escape(stage["name"]), *numbers)
        console.print(table)
    if found.origin:
        accuracy = ", ".join(f"{name} {value:.2%}" for name, value in found.origin["accuracy"].items())
        print(
            f"made by squeezekit {found.origin['squeezekit']}, recipe {found.origin['recipe'].get('name')}; accuracy: {accuracy}"
        )
    if found.confidence:
        print(f"unsure below {found.confidence['threshold']:.1%}, temperature {found.confidence['temperature']:g}")
    if found.self_check is not None:
        print(f"self-check {'passed' if found.self_check else 'FAILED: the network does not answer as it should'}")
    return 1 if found.self_check is False else 0
