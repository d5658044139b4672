"""`squeezekit models`."""

from __future__ import annotations

import argparse
import json as jsonlib

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
    from squeezekit.zoo.facts import all_facts

    found = all_facts()
    if json:
        print(jsonlib.dumps([each.as_json() for each in found]))
        return 0
    table = Table("name", "bytes", "parameters", "multiply-adds", "activations (int8)", "test accuracy", "data", "licence")
    for column in table.columns[1:6]:
        column.justify = "right"
    for each in found:
        numbers = (f"{each.bytes:,}", f"{each.parameters:,}", f"{each.macs:,}", f"{each.activation_bytes:,}")
        table.add_row(each.name, *numbers, f"{each.accuracy:.2%}", each.data, each.licence)
    Console(highlight=False).print(table)
    return 0
