"""`squeezekit describe`."""

from __future__ import annotations

import argparse
import csv as csvlib
import json as jsonlib
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from squeezekit.cli.fields import add_fields
from squeezekit.networks.layer_table import LayerTable, Shape, layer_table
from squeezekit.networks.registry import NETWORKS, network_config
from squeezekit.networks.squeezenet import SqueezeNetConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `describe`."""
    parser.epilog = """examples:
  squeezekit describe squeezenet-cifar
  squeezekit describe squeezenet1_0 --compare alexnet
  squeezekit describe squeezenet-late --classes 100 --image-size 64 --json
  squeezekit describe squeezenet-late --squeeze-ratio 0.25 --bypass simple"""
    parser.usage = "%(prog)s NETWORK [--classes N] [--image-size N] [--compare NETWORK] [--json | --csv] [any field below]"
    parser.add_argument("network", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--compare", metavar="NETWORK", help="say how many times fewer parameters than this one")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print as JSON")
    output.add_argument("--csv", action="store_true", help="print the layers as CSV")
    add_fields(parser, "network (defaults: those of squeezenet-cifar)", SqueezeNetConfig, leave={"name", "mean", "std"})
    parser.set_defaults(run=run)


def run(*, network: str, compare: str | None = None, json: bool = False, csv: bool = False, **fields: Any) -> int:
    """Print the layer table."""
    table = layer_table(network_config(network, **fields))
    other = layer_table(network_config(compare)) if compare else None
    ratio = {"compared": compare, "ratio": other.parameters / table.parameters} if other else {}
    if json:
        print(jsonlib.dumps(table.as_json() | ratio))
    elif csv:
        _print_csv(table)
    else:
        _print_table(table)
        if other:
            print(f"{other.parameters / table.parameters:.1f} × fewer parameters than {compare} ({other.parameters:,})")
    return 0


def _print_table(table: LayerTable) -> None:
    names = ("layer", "type", "input", "output", "parameters", "multiply-adds", "output bytes (int8)", "remark")
    shown = Table(*names)
    for row in table.layers:
        numbers = (f"{n:,}" for n in (row.parameters, row.macs, row.activation_bytes))
        shown.add_row(row.layer, row.type, _text(row.input), _text(row.output), *numbers, row.remark)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(shown)
    print(
        f"{table.parameters:,} parameters: {table.parameters * 4 / 1024:,.0f} KB in fp32, "
        f"{table.parameters / 1024:,.0f} KB in int8; {table.macs:,} multiply-adds; "
        f"peak activations {table.activation_bytes / 1024:,.0f} KB in int8"
    )


def _print_csv(table: LayerTable) -> None:
    writer = csvlib.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("layer", "type", "input", "output", "parameters", "macs", "activation_bytes", "remark"))
    for row in table.layers:
        shapes = (_text(row.input), _text(row.output))
        writer.writerow((row.layer, row.type, *shapes, row.parameters, row.macs, row.activation_bytes, row.remark))


def _text(shape: Shape) -> str:
    return "×".join(str(side) for side in (*shape[1:], shape[0]))
