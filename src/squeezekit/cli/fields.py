"""Every field of a settings model as one flag of its own name; only what is given on the command line is passed on."""

from __future__ import annotations

import argparse
import types
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from squeezekit.networks.registry import NETWORKS
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.training.recipe import RECIPES, Recipe
from squeezekit.training.settings import RunSettings


def add_settings(parser: argparse.ArgumentParser, *, leave: Collection[str] = ()) -> None:
    """Add the flags of everything that trains: presets, a file, each field of network, recipe and run but those in `leave`."""
    parser.add_argument("--network", metavar="NAME", help=f"preset: {', '.join(NETWORKS)} (default squeezenet-cifar)")
    parser.add_argument("--recipe", metavar="NAME", help=f"preset: {', '.join(RECIPES)} (default modern)")
    parser.add_argument("--config", metavar="FILE", help="TOML file with tables [network], [recipe], [run]; flags win")
    add_fields(parser, "run", RunSettings, leave=leave)
    add_fields(parser, "network (defaults: those of squeezenet-cifar)", SqueezeNetConfig, leave={"name"})
    add_fields(parser, "recipe", Recipe, leave={"name"}, presets=RECIPES)


def add_fields(
    parser: argparse.ArgumentParser,
    title: str,
    model: type[BaseModel],
    *,
    leave: Collection[str] = (),
    presets: Mapping[str, BaseModel] | None = None,
) -> None:
    """Add a flag for each field of `model` but those in `leave`; the help shows its default, or that of each preset.

    Values stay text: the model validates them.
    """
    group = parser.add_argument_group(title)
    for name, field in model.model_fields.items():
        if name in leave:
            continue
        flag, kind = f"--{name.replace('_', '-')}", _plain(field.annotation)
        text = _help(name, field, presets or {}).replace("%", "%%")
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif get_origin(kind) is tuple:
            group.add_argument(flag, nargs="+" if name in ("mean", "std") else "*", metavar="N", type=_number, help=text)
        elif get_origin(kind) is Literal:
            group.add_argument(flag, choices=get_args(kind), type=type(get_args(kind)[0]), help=text)
        else:
            group.add_argument(flag, metavar="N" if kind in (int, float) else "NAME", type=kind, help=text)


def _plain(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return _plain(next(part for part in get_args(annotation) if part is not type(None)))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _help(name: str, field: FieldInfo, presets: Mapping[str, BaseModel]) -> str:
    values = {preset: getattr(fields, name) for preset, fields in presets.items()}
    if len(set(values.values())) > 1:
        shown = ", ".join(f"{preset}: {value}" for preset, value in values.items())
    else:
        default = field.default if not values else next(iter(values.values()))
        shown = "" if default in ("", PydanticUndefined) else f"default {_shown(default)}"
    return f"{field.description} ({shown})" if shown else field.description or ""


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value
