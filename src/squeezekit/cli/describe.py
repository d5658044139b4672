"""`squeezekit describe`."""

from __future__ import annotations

from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.cli.settings_flags import MATTERS, add_network_fields
from squeezekit.networks.activations import Shape
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.layer_table import LayerTable, layer_table
from squeezekit.networks.registry import NETWORKS, network_config
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.spreadsheet import csv_text
from squeezekit.system.standard_output import show, show_json, show_table


def add_arguments(parser: Parser) -> None:
    """The flags of `describe`."""
    parser.explain(
        "describe squeezenet1_0 --compare alexnet",
        "describe cifar10-tiny",
        usage="MODEL [--compare MODEL] [settings of a preset]",
        notes="To change a preset: squeezekit describe squeezenet-late --squeeze-ratio 0.25",
    )
    presets = f"a network preset ({', '.join(NETWORKS)})"
    parser.add_model(f"{presets}, a run folder, a .sqz or .onnx file, or a pretrained model")
    parser.add_argument("--compare", metavar="MODEL", help="print how many times more parameters this one has")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print as JSON")
    output.add_argument("--csv", action="store_true", help="print the layers as CSV")
    add_network_fields(parser, leave={"name", "mean", "std"}, matters={"classes", "channels", *MATTERS})
    parser.set_defaults(run=run)


def run(*, model: str, compare: str | None = None, json: bool = False, csv: bool = False, **fields: Any) -> int:
    """Print the layer table."""
    table = layer_table(_config(model, fields))
    other = layer_table(_config(compare, {})) if compare else None
    ratio = {"compared": compare, "ratio": other.parameters / table.parameters} if other else {}
    if json:
        show_json(table.as_json() | ratio)
    elif csv:
        _print_csv(table)
    else:
        _print_table(table)
        if other:
            show(f"{other.parameters / table.parameters:.1f} × fewer parameters than {compare} ({other.parameters:,})")
    return 0


def _config(model: str, fields: dict[str, Any]) -> NetworkConfig:
    """Of a preset, its `fields` changed, or of a MODEL; raises SqueezekitError."""
    from squeezekit.inference.model import load_model
    from squeezekit.pretrained.files import model_path

    if model in NETWORKS:
        return network_config(model, **fields)
    try:
        path = model_path(model)
    except SqueezekitError:
        message = f"{model}: is neither a MODEL nor a network preset; choose one of {', '.join(NETWORKS)}"
        raise SqueezekitError(message) from None
    if fields:
        raise SqueezekitError(
            f"{model}: is trained, its settings cannot change; leave out --{next(iter(fields)).replace('_', '-')}"
        )
    return load_model(path).config


def _print_table(table: LayerTable) -> None:
    names = ("layer", "type", "input", "output", "parameters", "multiply-adds", "output bytes (int8)", "remark")
    rows = []
    for row in table.layers:
        numbers = (f"{n:,}" for n in (row.parameters, row.macs, row.activation_bytes))
        rows.append([row.layer, row.type, _text(row.input), _text(row.output), *numbers, row.remark])
    show_table(names, rows, folds=["remark"])
    show(
        f"{table.parameters:,} parameters: {table.parameters * 4 / 1024:,.0f} KB in fp32, "
        f"{table.parameters / 1024:,.0f} KB in int8; {table.macs:,} multiply-adds; "
        f"peak activations {table.activation_bytes / 1024:,.0f} KB in int8"
    )
    show(_row_by_row(table))


def _row_by_row(table: LayerTable) -> str:
    if table.row_by_row_bytes is None or table.mixed_bytes is None:
        return "peak activations row by row: unknown, because it is for some layer which rows of its input it needs"
    said, where = f"peak activations row by row {table.row_by_row_bytes / 1024:,.0f} KB", table.layer_by_layer_from
    return f"{said}; {table.mixed_bytes / 1024:,.0f} KB with layer by layer from {where} on" if where else said


def _print_csv(table: LayerTable) -> None:
    rows: list[tuple[object, ...]] = [("layer", "type", "input", "output", "parameters", "macs", "activation_bytes", "remark")]
    for row in table.layers:
        shapes = (_text(row.input), _text(row.output))
        rows.append((row.layer, row.type, *shapes, row.parameters, row.macs, row.activation_bytes, row.remark))
    for line in csv_text(rows).splitlines():
        show(line)


def _text(shape: Shape) -> str:
    return "×".join(str(side) for side in (*shape[1:], shape[0]))
