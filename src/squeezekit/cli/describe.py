"""`squeezekit describe`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezekit.cli.parser import Parser
from squeezekit.cli.settings_flags import MATTERS, add_network_fields
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.layer_table import LayerTable, Shape, layer_table
from squeezekit.networks.registry import NETWORKS, network_config
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.spreadsheet import csv_text
from squeezekit.system.standard_output import show, show_json, show_table

if TYPE_CHECKING:
    from squeezekit.export.c.footprint import Footprint

# How `export --format c` may store weights, in words.
STORED = {"dense": "dense", "sparse": "sparse: without zeros", "coded": "coded: decoded into RAM"}


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
    """Print the layer table, and what the network takes as C."""
    config, path = _described(model, fields)
    table = layer_table(config)
    other = layer_table(_described(compare, {})[0]) if compare else None
    ratio = {"compared": compare, "ratio": other.parameters / table.parameters} if other else {}
    if json:
        footprint, unknown = _footprint(config, path)
        show_json(table.as_json() | {"c": footprint and footprint.as_json(), "c_unknown": unknown} | ratio)
    elif csv:
        _print_csv(table)
    else:
        _print_table(table)
        _print_footprint(*_footprint(config, path))
        if other:
            show(f"{other.parameters / table.parameters:.1f} × fewer parameters than {compare} ({other.parameters:,})")
    return 0


def _described(model: str, fields: dict[str, Any]) -> tuple[NetworkConfig, Path | None]:
    """The network of a preset, its `fields` changed, or of a MODEL and where that one lies; raises SqueezekitError."""
    from squeezekit.inference.model import load_model
    from squeezekit.pretrained.files import model_path

    if model in NETWORKS:
        return network_config(model, **fields), None
    try:
        path = model_path(model)
    except SqueezekitError:
        message = f"{model}: is neither a MODEL nor a network preset; choose one of {', '.join(NETWORKS)}"
        raise SqueezekitError(message) from None
    if fields:
        raise SqueezekitError(
            f"{model}: is trained, its settings cannot change; leave out --{next(iter(fields)).replace('_', '-')}"
        )
    return load_model(path).config, path


def _footprint(config: NetworkConfig, path: Path | None) -> tuple[Footprint | None, str | None]:
    """What a network takes as C, of a `.sqz` file with its own weights; or why that is not known."""
    from squeezekit.export.c.footprint import footprint_of, footprint_of_file

    try:
        if path and path.is_file() and path.suffix != ".onnx":
            return footprint_of_file(path), None
        return footprint_of(config), None
    except SqueezekitError as error:
        return None, str(error)


def _print_table(table: LayerTable) -> None:
    numbers, rows = ("parameters", "multiply-adds", "output bytes (int8)"), []
    for row in table.layers:
        counts = (f"{n:,}" for n in (row.parameters, row.macs, row.activation_bytes))
        rows.append([row.layer, row.type, _text(row.input), _text(row.output), *counts, row.remark])
    show_table(("layer", "type", "input", "output", *numbers, "remark"), rows, folds=["remark"], numbers=numbers)
    show(
        f"{table.parameters:,} parameters: {table.parameters * 4 / 1024:,.0f} KB in fp32, "
        f"{table.parameters / 1024:,.0f} KB in int8; {table.macs:,} multiply-adds"
    )


def _print_footprint(footprint: Footprint | None, unknown: str | None) -> None:
    """Flash, RAM and multiply-adds of a program in C, a row for each way to store weights, and RAM by the order of its steps."""
    from squeezekit.export.c.tables import CODE_BYTES, CODE_BYTES_WITHOUT_DECODER, STACK_BYTES

    if footprint is None:
        show(f"flash and RAM as C: not known, because {unknown}")
        return
    numbers = ("flash", "RAM", "multiply-adds done")
    rows = [[STORED[way], f"{each.flash:,}", f"{each.ram:,}", f"{each.macs:,}"] for way, each in footprint.stored.items()]
    show_table(["weights in C", *numbers], rows, numbers=numbers)
    code = f"some {CODE_BYTES_WITHOUT_DECODER:,} of code ({CODE_BYTES:,} if coded)"
    besides = f"{code}, {STACK_BYTES:,} of stack, and the picture, {footprint.picture:,}, wherever it lies"
    show(f"in bytes, of constants and variables; besides: {besides}")
    ram = footprint.feature_maps
    show(f"RAM for feature maps: {ram.least:,} bytes; layer by layer {ram.by_layer:,}, all row by row {ram.by_row:,}")


def _print_csv(table: LayerTable) -> None:
    rows: list[tuple[object, ...]] = [("layer", "type", "input", "output", "parameters", "macs", "activation_bytes", "remark")]
    for row in table.layers:
        shapes = (_text(row.input), _text(row.output))
        rows.append((row.layer, row.type, *shapes, row.parameters, row.macs, row.activation_bytes, row.remark))
    for line in csv_text(rows).splitlines():
        show(line)


def _text(shape: Shape) -> str:
    return "×".join(str(side) for side in (*shape[1:], shape[0]))
