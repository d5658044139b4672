"""Every field of a settings model as one flag of its own name; only what is given on the command line is passed on."""

from __future__ import annotations

import argparse
import types
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from squeezekit.cli.parser import Parser
from squeezekit.networks.registry import NETWORKS
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.networks.staged import StagedConfig
from squeezekit.training.recipe import RECIPES, Recipe
from squeezekit.training.settings import RunSettings

# What `--help` shows; `--help-all` shows every field.
MATTERS = {
    *("data", "teacher", "limit", "seed", "device"),
    *("image_size", "base_e", "incr_e", "depth", "squeeze_ratio", "bypass", "dropout"),
    *("optimizer", "learning_rate", "weight_decay", "batch_size", "epochs", "schedule", "label_smoothing", "augmentation"),
}


def add_settings(parser: Parser, *, leave: Collection[str] = ()) -> None:
    """Add the flags of everything that trains: images, presets, a file, each field of run, network and recipe but `leave`."""
    data = RunSettings.model_fields["data"].description
    parser.add_argument("--data", metavar="DATA", help=data)
    parser.add_argument("--network", metavar="NAME", help=f"preset: {', '.join(NETWORKS)} (default squeezenet-cifar)")
    parser.add_argument(
        "--recipe", metavar="NAME", help=f"preset: {', '.join(RECIPES)} (default modern; from trained weights fine-tune)"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=parser.seldom("TOML file with tables [network], [recipe] and [run]; flags win"),
    )
    add_fields(parser, "run", RunSettings, leave={"data", *leave})
    add_network_fields(parser, leave={"name", *leave})
    add_fields(parser, "recipe", Recipe, leave={"name", *leave}, presets=RECIPES)


def add_network_fields(parser: Parser, *, leave: Collection[str], matters: Collection[str] = MATTERS) -> None:
    """Add the flags of networks: those of the SqueezeNet family, and those that networks of stages have beside them."""
    family = "network (defaults: those of squeezenet-cifar)"
    add_fields(parser, family, SqueezeNetConfig, leave=leave, matters=matters)
    stages = "network of stages (defaults: those of staged)"
    add_fields(parser, stages, StagedConfig, leave={*SqueezeNetConfig.model_fields, *leave}, matters=matters)


def add_fields(
    parser: Parser,
    title: str,
    model: type[BaseModel],
    *,
    leave: Collection[str] = (),
    matters: Collection[str] = MATTERS,
    presets: Mapping[str, BaseModel] | None = None,
) -> None:
    """Add a flag for each field of `model` but those in `leave`; the help shows its default, or that of each preset.

    `--help` shows those that `matters` names. Values stay text or numbers: the model validates them.
    """
    group = parser.add_argument_group(title)
    for name, field in model.model_fields.items():
        if name in leave:
            continue
        flag, kind = f"--{name.replace('_', '-')}", _plain(field.annotation)
        text = _help(name, field, presets or {}).replace("%", "%%")
        if _hidden(field):
            text = argparse.SUPPRESS
        elif name not in matters:
            text = parser.seldom(text)
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif get_origin(kind) is tuple:
            group.add_argument(flag, nargs="+" if name in ("mean", "std") else "*", metavar="N", type=_number, help=text)
        elif get_origin(kind) is Literal:
            group.add_argument(flag, choices=get_args(kind), type=type(get_args(kind)[0]), help=text)
        else:
            group.add_argument(flag, metavar="N" if kind in (int, float) else "NAME", type=kind, help=text)


def _plain(annotation: Any) -> Any:
    """The type itself, of `X | None` or `Annotated[X, …]`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return _plain(next(part for part in get_args(annotation) if part is not type(None)))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _hidden(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("hidden"))


def _help(name: str, field: FieldInfo, presets: Mapping[str, BaseModel]) -> str:
    values = {preset: getattr(fields, name) for preset, fields in presets.items()}
    if len(set(values.values())) > 1:
        shown = ", ".join(f"{preset} {_text(value)}" for preset, value in values.items())
    else:
        default = field.default if not values else next(iter(values.values()))
        shown = "" if default in ("", PydanticUndefined) else f"default {_text(default)}"
    return f"{field.description} ({shown})" if shown else field.description or ""


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _number(text: str) -> float | int:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    return int(value) if value.is_integer() else value
