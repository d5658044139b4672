"""Everything that a study depends on, decided before its first trial."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from squeezekit.data.overview import overview
from squeezekit.data.sources import data_name
from squeezekit.integer.outline import NoIntegerForm, outline_of, ram_of
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.registry import first_problem, network_class
from squeezekit.search.space import Fields, Space, named_space, space_of
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.training.device import chosen_device
from squeezekit.training.run_images import images_to_train
from squeezekit.training.settings import RunConfig, build_config, read_tables, resolve, table_of

Sampler = Literal["grid", "random", "tpe", "nsga2"]
Pruner = Literal["halving", "hyperband", "none"]
Size = Literal["parameters", "macs", "bytes", "ram"]


class SizeLimits(BaseModel):
    """What a network may need at most; 0: anything. Checked before it trains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: int = Field(0, ge=0)
    macs: int = Field(0, ge=0)
    bytes: int = Field(0, ge=0)
    ram: int = Field(0, ge=0)

    def broken(self, sizes: dict[str, int]) -> str | None:
        """Which of them these sizes break, as half a sentence."""
        for name in type(self).model_fields:
            limit = getattr(self, name)
            if limit and sizes[name] > limit:
                return f"{sizes[name]:,} {name} are more than the {limit:,} allowed"
        return None


class StudyPlan(BaseModel):
    """The same plan is the same study, on whichever machine.

    `fields` are the same for all trials, `space` says what varies (the tables of a space file, or `points`); `trials` is how
    many a sampler draws, of a grid every point is one; `size` is what is kept small beside the loss; `images` is their
    fingerprint.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    recipe: str
    fields: Fields
    space: dict[str, Any]
    sampler: Sampler = "tpe"
    trials: int = Field(50, ge=1, le=100_000)
    pruner: Pruner = "halving"
    size: Size = "parameters"
    limits: SizeLimits = SizeLimits()
    seed: int = Field(0, ge=0)
    images: str = ""

    def space_of_trials(self) -> Space:
        """What varies."""
        if "points" in self.space:
            return Space(points=tuple(self.space["points"]))
        return space_of(self.space, self.network, "space")

    def config(self, fields: Fields) -> RunConfig:
        """What one trial trains; raises SqueezekitError for fields that do not go together."""
        return build_config(*resolve(network=self.network, recipe=self.recipe, config=None, fields={**self.fields, **fields}))


def planned(
    space: str | Space,
    *,
    data: Any,
    network: str | None,
    recipe: str | None,
    config: str | Path | None,
    fields: Fields,
    **options: Any,
) -> StudyPlan:
    """The plan that a user's flags make; `space` is the name of a built-in one, a file, or points.

    Raises SqueezekitError where something in it is impossible.
    """
    tables = read_tables(expanded(config)) if config else {}
    presets = {table: content.pop("name", None) for table, content in tables.items()}
    network, recipe = network or presets.get("network") or "squeezenet-cifar", recipe or presets.get("recipe") or "modern"
    fields = {**{name: value for content in tables.values() for name, value in content.items()}, **fields}
    if data is not None:
        if not isinstance(data, str | Path):
            raise SqueezekitError("workers of a search cannot see pictures in memory; save them as a folder and give its path")
        fields["data"] = data_name(data)
    for name in fields:
        table_of(name, network_class(network))
    varied = named_space(space, network, fields) if isinstance(space, str) else space
    if twice := next((name for name in varied.fields if name in fields), None):
        raise SqueezekitError(f"{twice} varies in the space; leave it out of the flags and the file")
    try:
        plan = StudyPlan(
            network=network, recipe=recipe, fields={**fields, "test": False}, space=_tables_of(varied, network), **options
        )
    except ValidationError as error:
        raise SqueezekitError(first_problem(error)) from None
    if plan.sampler == "grid":
        plan = plan.model_copy(update={"trials": len(varied.grid())})
    return _with_images(plan)


def _with_images(plan: StudyPlan) -> StudyPlan:
    """With what depends on the images, so that sizes are right before any training."""
    draft = plan.config({})
    network, run = draft.network, draft.run
    if plan.limits.ram or plan.size == "ram":
        _check_ram_is_known(network, "--max-ram" if plan.limits.ram else "--size ram")
    # Channels that nobody asked for are those of the images.
    channels = network.channels if "channels" in plan.fields else None
    chosen_device(run.device)
    source, split = images_to_train(draft, channels)
    images = source.training
    if not len(split.validation):
        raise SqueezekitError("a search compares validation losses, for which --validation-share 0 leaves no image; leave it out")
    for line in overview(source, split):
        say(line)
    found = {"classes": len(images.classes), "channels": images.channels}
    return plan.model_copy(update={"fields": {**plan.fields, **found}, "images": images.fingerprint})


def _tables_of(space: Space, network: str) -> dict[str, Any]:
    if space.points:
        return {"points": [dict(point) for point in space.points]}
    tables: dict[str, Any] = {}
    for name, dimension in space.dimensions.items():
        tables.setdefault(table_of(name, network_class(network)), {})[name] = dimension.as_toml()
    return tables


def _check_ram_is_known(network: NetworkConfig, flag: str) -> None:
    """Whether layers have integer forms is the same for a whole space."""
    try:
        outline_of(network)
    except NoIntegerForm as error:
        raise SqueezekitError(f"{flag}: the RAM of network '{network.name}' is not known, {error}; leave it out") from None


def sizes_of(config: RunConfig) -> dict[str, int]:
    """Parameters, multiply-adds, bytes of int8 weights (biases in four bytes each), and bytes of RAM for feature maps as C.

    RAM is left out for a network with a layer that has no integer form.
    """
    # In evaluation mode batch normalization is folded into the weights.
    folded = config.network.folded()
    table = layer_table(folded)
    tensors = list(folded.build().parameters())
    weights = sum(tensor.numel() * (1 if tensor.ndim > 1 else 4) for tensor in tensors)
    sizes = {"parameters": table.parameters, "macs": table.macs, "bytes": weights}
    with suppress(NoIntegerForm):
        sizes["ram"] = ram_of(folded).least
    return sizes
