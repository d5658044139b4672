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
    table = Table("tensor", "encoding", "shape", "numbers", "not zero", "bytes", "bits each")
    for tensor in found.tensors:
        shape = "×".join(str(side) for side in tensor.shape)
        numbers = (f"{tensor.numbers:,}", f"{tensor.density:.1%}", f"{tensor.bytes:,}", f"{tensor.bits:.2f}")
        table.add_row(escape(tensor.name), tensor.encoding, shape, *numbers)
    console.print(table)
    sections = ", ".join(f"{tag} {size:,}" for tag, size in found.sections.items())
    print(f"{found.bytes:,} bytes, {found.numbers:,} numbers, {found.bits:.3f} bits each; bytes by section: {sections}")
    print(f"network {found.network.name}, {len(found.classes)} classes: {', '.join(found.classes)}")
    if found.stages:
        table = Table("stage", "bytes", "not zero", "bits a weight", "validation accuracy")
        for stage in found.stages:
            numbers = (f"{stage.bytes:,}", f"{stage.density:.1%}", f"{stage.bits:.3f}", f"{stage.accuracy:.2%}")
            table.add_row(escape(stage.name), *numbers)
        console.print(table)
    if provenance := found.provenance:
        accuracy = ", ".join(f"{name} {value:.2%}" for name, value in provenance.accuracy.items())
        print(f"made by squeezekit {provenance.squeezekit}, recipe {provenance.recipe.get('name')}; accuracy: {accuracy}")
    if calibration := found.probability_calibration:
        print(f"unsure below {calibration.threshold:.1%}, temperature {calibration.temperature:g}")
    if found.self_check is not None:
        print(f"self-check {'passed' if found.self_check else 'FAILED: the network does not answer as it should'}")
    return 1 if found.self_check is False else 0
