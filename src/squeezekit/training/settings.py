"""What a run is made from: network, recipe and the rest, gathered from names, a file and single fields."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from squeezekit.data.curation import Curation, folder_of_labels
from squeezekit.data.image_file import MOST_PIXELS
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.registry import first_problem, network_class, network_config
from squeezekit.networks.stored_names import network_as_read, recipe_as_read
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_toml
from squeezekit.system.shown_text import shown
from squeezekit.training.recipe import NETWORK_DEFAULTS, Recipe, named_recipe

TABLES = ("network", "recipe", "run")
# Recipes for weights that are random, and for weights that are trained.
DEFAULT_RECIPE, RECIPE_OF_TRAINED = "modern", "fine-tune"
# Fields of version 0.1, and what to give now.
RENAMED = {"normalisation": "normalization", "weights": "train's init_from", "pretrained": "train's init_from"}


Acceleration = Literal["auto", "on", "off"]


def _in_utf_8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name '{shown(name)}' is not UTF-8; rename what it stands for") from None
    return name


# Names of files may hold bytes that no file of text can.
Name = Annotated[str, AfterValidator(_in_utf_8)]


class RunSettings(BaseModel):
    """What training depends on beside network and recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: Name = Field(description="digits, cifar10, a CIFAR-10 archive, or a folder of images with one folder a class")
    validation_share: float = Field(
        0.1, ge=0, lt=1, description="share of the training images kept for validation; 0: all train, and the last weights stay"
    )
    folds: int = Field(
        0, ge=0, description="parts of the training images that take turns to validate; 0: as validation_share says"
    )
    fold: int = Field(0, ge=0, description="the part that validates, from 0")
    limit: int = Field(0, ge=0, description="use that many of the images that are not for testing; 0: all")
    seed: int = Field(0, ge=0, description="seed of the split, the weights, shuffling, augmentation and dropout")
    teacher: Name = Field(
        "", description="a run, or for train any MODEL or efficientnet-lite0, whose logits are learnt instead of labels"
    )
    unlabelled: Name = Field("", description="a folder of photos without labels, of which the teacher's answers are learnt too")
    labels: Name = Field("", description="CSV or JSON-lines file: path, label, perhaps split (train, val, test) and group")
    group_by: str = Field(
        "", description="what belongs together, on one side of every split: a regular expression for paths, or a column of labels"
    )
    leave_out: Name = Field("", description="list of pictures to leave out, a path a line, as check --write-list writes it")
    strict: bool = Field(False, description="an image that cannot be read is an error")
    max_pixels: int = Field(MOST_PIXELS, ge=1, description="pixels that a picture may have; larger ones cannot be read")
    deterministic: bool = Field(False, description="two runs give the same weights, bit for bit")
    device: str = Field("auto", description="cpu, cuda or auto")
    fused: bool = Field(False, description="on a GPU, torch.compile joins operations: faster after up to a minute of compiling")
    acceleration: Acceleration = Field(
        "auto", description="faster forms of the network's layers, of the same results; auto: on a GPU, and in bf16 on a CPU"
    )
    test: bool = Field(True, description="measure the test images, once, at the end")

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        if self.unlabelled and not self.teacher:
            raise ValueError("photos without labels are learnt from a teacher's answers; name one with --teacher")
        return self

    @property
    def curation(self) -> Curation:
        """What somebody has decided about the pictures."""
        return Curation(self.labels, self.group_by, self.leave_out)


class RunConfig(BaseModel):
    """The content of a run folder's `config.toml`: tables `network`, `recipe` and `run`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: SerializeAsAny[NetworkConfig]
    recipe: Recipe
    run: RunSettings

    def to_toml(self) -> str:
        """The text of `config.toml`."""
        return tomli_w.dumps(self.model_dump(mode="json"))


def read_config(path: Path) -> RunConfig:
    """The configuration that a run folder holds; raises SqueezekitError."""
    return config_from(read_outside_toml(path), path)


def config_from(tables: dict[str, Any], path: Path) -> RunConfig:
    """The configuration in the tables of `config.toml`, whose `path` errors name; raises SqueezekitError."""
    if wrong := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise SqueezekitError(f"{path}: '{wrong[0]}' is not a table; give a config.toml that squeezekit wrote")
    try:
        table = network_as_read(tables.pop("network"))
        # Version 0.1 had a field for the file of weights to start from.
        run = {name: value for name, value in tables["run"].items() if name != "weights"}
        tables = {**tables, "recipe": recipe_as_read(tables["recipe"]), "run": run}
        network = network_class(table["name"]).model_validate(table)
        network.check_work()
        return RunConfig(network=network, **tables)
    except KeyError as error:
        raise SqueezekitError(f"{path}: {error} is missing; give a config.toml that squeezekit wrote") from None
    except (ValidationError, TypeError, SqueezekitError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise SqueezekitError(f"{path}: {problem}") from None


def read_tables(path: Path) -> dict[str, dict[str, Any]]:
    """The tables [network], [recipe] and [run] of a TOML file, empty where it has none; raises SqueezekitError."""
    tables = read_outside_toml(path)
    if unknown := set(tables) - set(TABLES):
        raise SqueezekitError(f"{path}: unknown table [{unknown.pop()}]; use [network], [recipe] and [run]")
    if wrong := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise SqueezekitError(f"{path}: '{wrong[0]}' must be a table; write [{wrong[0]}] and its fields below")
    found = {name: dict(tables.get(name, {})) for name in TABLES}
    # That of a run of version 0.1 serves as well.
    if "name" in found["network"]:
        found["network"] = network_as_read(found["network"])
    found["recipe"] = recipe_as_read(found["recipe"])
    if not found["run"].get("weights"):
        found["run"].pop("weights", None)
    return found


def data_of(fields: Mapping[str, Any], config: Path | None) -> str | None:
    """The images that single fields name, or else a file; raises SqueezekitError."""
    given = {**(read_tables(config)["run"] if config else {}), **fields}
    named = given.get("data") or (folder_of_labels(given["labels"]) if given.get("labels") else None)
    return named if isinstance(named, str) else None


def resolve(
    *,
    network: str | None,
    recipe: str | None,
    config: Path | None,
    fields: dict[str, Any],
    default_recipe: str = DEFAULT_RECIPE,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The fields of network, recipe and run that a user's names, file and single fields come to.

    Later ones win: the named presets, what the recipe sets for networks, the file's tables, the single fields.
    Raises SqueezekitError for names and fields that do not exist.
    """
    in_file = read_tables(config) if config else {name: {} for name in TABLES}
    presets = {"network": network, "recipe": recipe}
    for table, given in presets.items():
        stored = in_file[table].pop("name", None)
        if given and stored and given != stored:
            raise SqueezekitError(
                f"{config}: its [{table}] is that of '{stored}', not of '{given}'; leave out one of the two names"
            )
        presets[table] = given or stored
    network, recipe = presets["network"] or "squeezenet-cifar", presets["recipe"] or default_recipe
    preset, network_type = named_recipe(recipe), network_class(network)
    for name, value in fields.items():
        in_file[table_of(name, network_type)][name] = value
    for table, model in _tables(network_type).items():
        for name in in_file[table]:
            if name not in model.model_fields:
                raise SqueezekitError(f"[{table}] has no field '{name}'{_instead(name, model.model_fields)}")
    defaults = {k: v for k, v in NETWORK_DEFAULTS[recipe].items() if k in network_type.model_fields}
    return (
        {**defaults, **in_file["network"], "name": network},
        {**preset.model_dump(), **in_file["recipe"], "name": recipe},
        in_file["run"],
    )


def build_config(network: dict[str, Any], recipe: dict[str, Any], run: dict[str, Any]) -> RunConfig:
    """Validate what `resolve` gathered; raises SqueezekitError."""
    if "data" not in run and run.get("labels"):
        run["data"] = folder_of_labels(run["labels"])
    if "data" not in run:
        raise SqueezekitError("no images are named; give --data digits, cifar10 or FOLDER")
    built = network_config(**network)
    built.check_work()
    try:
        return RunConfig(network=built, recipe=Recipe.model_validate(recipe), run=RunSettings.model_validate(run))
    except ValidationError as error:
        raise SqueezekitError(first_problem(error)) from None


def table_of(name: str, network: type[NetworkConfig]) -> str:
    """The table, `network`, `recipe` or `run`, that a single field belongs to; raises SqueezekitError."""
    tables = _tables(network)
    for table, model in tables.items():
        if name in model.model_fields and name != "name":
            return table
    names = [field for model in tables.values() for field in model.model_fields]
    raise SqueezekitError(f"'{name}' is not a field of this network, a recipe or a run{_instead(name, names)}")


def _tables(network: type[NetworkConfig]) -> dict[str, type[BaseModel]]:
    return {"network": network, "recipe": Recipe, "run": RunSettings}


def _instead(name: str, names: Iterable[str]) -> str:
    if name in RENAMED:
        return f"; it is {RENAMED[name]} now"
    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean '{close[0]}'?" if close else ""
