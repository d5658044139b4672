"""`squeezekit models`."""

from __future__ import annotations

import json as jsonlib

from squeezekit.cli.parser import Parser


def add_arguments(parser: Parser) -> None:
    """The flags of `models`."""
    parser.explain(
        "models",
        "models --json",
        usage="[--json]",
        notes="Every command that takes a MODEL takes these names. Nothing is downloaded.",
    )
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, json: bool = False) -> int:
    """List the pretrained models."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from squeezekit.pretrained.facts import list_models

    found = list_models()
    if json:
        print(jsonlib.dumps([each.as_json() for each in found]))
        return 0
    table = Table("name", "bytes", "parameters", "MACs", "activations", "accuracy", box=SIMPLE_HEAD, title="pretrained models")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in found:
        work = (f"{each.parameters / 1e6:.2f} M", f"{each.macs / 1e6:,.0f} M", f"{each.activation_bytes // 1024} KB")
        table.add_row(each.name, f"{each.bytes:,}", *work, f"{each.accuracy:.2%}")
    Console(highlight=False).print(table)
    print("MACs: multiply-adds of one picture; activations: peak memory in int8; accuracy: on test images")
    for data in dict.fromkeys(each.data for each in found):
        trained = [each for each in found if each.data == data]
        print(f"{', '.join(each.name for each in trained)}: trained on {data}; licence {trained[0].licence}")
    return 0
