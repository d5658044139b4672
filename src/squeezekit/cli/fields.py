"""Every field of a settings model as one flag of its own name; only what is given on the command line is passed on."""

from __future__ import annotations

import argparse
import types
from collections.abc import Collection
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def add_fields(parser: argparse.ArgumentParser, title: str, model: type[BaseModel], leave: Collection[str] = ()) -> None:
    """Add a flag for each field of `model` but those in `leave`. Values stay text: the model validates them."""
    group = parser.add_argument_group(title)
    for name, field in model.model_fields.items():
        if name in leave:
            continue
        flag, kind = f"--{name.replace('_', '-')}", _plain(field.annotation)
        text = _help(field).replace("%", "%%")
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        elif get_origin(kind) is tuple:
            group.add_argument(flag, nargs="*", metavar="N", type=_number, help=text)
        elif get_origin(kind) is Literal:
            group.add_argument(flag, choices=get_args(kind), type=type(get_args(kind)[0]), help=text)
        else:
            group.add_argument(flag, metavar="N" if kind in (int, float) else "NAME", type=kind, help=text)


def _plain(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return _plain(next(part for part in get_args(annotation) if part is not type(None)))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _help(field: FieldInfo) -> str:
    return field.description or ""


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value
