"""`squeezekit models`."""

from __future__ import annotations

import argparse
import json as jsonlib

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `models`."""
    parser.epilog = """examples:
  squeezekit models
  squeezekit models --json
  squeezekit predict cifar10-tiny cat.jpg
  squeezekit train --data photos/ --from cifar10-small

every command that takes a MODEL takes these names; nothing is fetched."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def run(*, json: bool = False) -> int:
    """List the networks in the box."""
    from squeezekit.pretrained.facts import list_models

    found = list_models()
    if json:
        print(jsonlib.dumps([each.as_json() for each in found]))
        return 0
    table = Table("name", "bytes", "parameters", "MACs", "activations", "accuracy", box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    for each in found:
        work = (f"{each.parameters / 1e6:.2f} M", f"{each.macs / 1e6:,.0f} M", f"{each.activation_bytes // 1024} KB")
        table.add_row(each.name, f"{each.bytes:,}", *work, f"{each.accuracy:.2%}")
    Console(highlight=False).print(table)
    print("MACs: multiply-adds of one picture; activations: their peak, in int8; accuracy: on test pictures")
    for data in dict.fromkeys(each.data for each in found):
        of = [each for each in found if each.data == data]
        print(f"{', '.join(each.name for each in of)}: trained on {data}; licence {of[0].licence}")
    return 0
