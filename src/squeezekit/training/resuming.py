"""A run taken up again: it keeps its settings, and what is given a second time must be what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from squeezekit.data.sources import settled
from squeezekit.networks.registry import first_problem
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.device import chosen_device
from squeezekit.training.run_folder import Run
from squeezekit.training.settings import RunConfig, read_tables, table_of


def resumed(folder: Path, *, network: str | None, recipe: str | None, config: Path | None, fields: dict[str, Any]) -> Run:
    """The run in `folder`; `device`, and `data` and `teacher` that have moved, may be given anew.

    Raises SqueezekitError when a name, the file or another field asks for something else than the run has.
    """
    run = Run(folder)
    # What a killed process was writing.
    for left_behind in folder.glob(".*.partial"):
        left_behind.unlink()
    presets = {"network": network, "recipe": recipe}
    tables = read_tables(config) if config else {}
    for table, given in tables.items():
        presets[table] = presets.get(table) or given.pop("name", None)
        fields = {**given, **fields}
    for table in ("network", "recipe"):
        begun, asked = getattr(run.config, table).name, presets[table]
        if asked and asked != begun:
            raise SqueezekitError(f"{folder} was begun with --{table} {begun}, not {asked}; start a new run for that")
    now = {name: fields.pop(name) for name in ("data", "device", "teacher") if name in fields}
    for name, value in fields.items():
        _check(run, name, value)
    run.config = _with(run.config, **now)
    return run


def _check(run: Run, name: str, value: Any) -> None:
    part: BaseModel = getattr(run.config, table_of(name, type(run.config.network)))
    has = getattr(part, name)
    if name == "weights":
        value = settled(value)
    elif name == "precision" and value == "auto":
        value = has
    try:
        asked = getattr(type(part).model_validate({**part.model_dump(), name: value}), name)
    except ValidationError as error:
        raise SqueezekitError(first_problem(error)) from None
    if asked != has:
        raise SqueezekitError(f"{run.folder} was begun with {name} = {has}; start a new run to change it")


def _with(config: RunConfig, data: str | None = None, device: str = "auto", teacher: str | None = None) -> RunConfig:
    if teacher and not config.run.teacher:
        raise SqueezekitError(f"--teacher {teacher}: the run was begun without one; start a new run for that")
    place = {
        "teacher": settled(teacher) if teacher else config.run.teacher,
        "data": settled(data) if data else config.run.data,
        "device": str(chosen_device(config.run.device if device == "auto" else device)),
    }
    return config.model_copy(update={"run": config.run.model_copy(update=place)})
