"""Which networks and recipes a search looks at: for some of their fields, lists of values or ranges."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from squeezekit.networks.registry import NETWORKS, first_problem, network_class, network_config
from squeezekit.networks.without_memory import without_memory
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_toml
from squeezekit.system.paths import expanded
from squeezekit.training.recipe import Recipe
from squeezekit.training.settings import table_of

Fields = dict[str, Any]
MOST_POINTS = 100_000


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def distribution(self) -> BaseDistribution:
        """As the sampler sees it: lists, such as places of poolings, as text."""
        return CategoricalDistribution([json.dumps(value) if isinstance(value, list) else value for value in self.values])

    def decoded(self, drawn: Any) -> Any:
        """The value that was drawn."""
        return next(value for value in self.values if drawn in (value, json.dumps(value)))

    def as_toml(self) -> list[Any]:
        """As a space file has it."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """Any value between two, on a linear or a logarithmic scale; on a grid, `steps` of them."""

    low: float
    high: float
    log: bool = False
    steps: int | None = None
    integer: bool = False

    def distribution(self) -> BaseDistribution:
        """As the sampler sees it."""
        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def decoded(self, drawn: Any) -> Any:
        """The value that was drawn."""
        return drawn

    def as_toml(self) -> Fields:
        """As a space file has it."""
        steps = {} if self.steps is None else {"steps": self.steps}
        return {"low": self.low, "high": self.high, "log": self.log, **steps}

    @property
    def values(self) -> tuple[Any, ...]:
        """Those of a grid, evenly spaced on the range's scale."""
        count = self.steps or 0
        shares = [i / max(count - 1, 1) for i in range(count)]
        if self.log:
            found = [math.exp(math.log(self.low) + share * math.log(self.high / self.low)) for share in shares]
        else:
            found = [self.low + share * (self.high - self.low) for share in shares]
        return tuple(dict.fromkeys(round(x) if self.integer else float(f"{x:.6g}") for x in found))


@dataclass(frozen=True)
class Space:
    """Fields of a network and a recipe by name, each with what it may be; or `points`, whole sets of fields."""

    dimensions: Mapping[str, Choice | Range] = field(default_factory=dict)
    points: tuple[Fields, ...] = ()

    def grid(self) -> list[Fields]:
        """Every combination; raises SqueezekitError where a range has no `steps`, and when there are too many."""
        if self.points:
            return [dict(point) for point in self.points]
        for name, dimension in self.dimensions.items():
            if not dimension.values:
                raise SqueezekitError(f"{name}: a grid needs a list, or a range with steps; give one, or --sampler random")
        count = math.prod(len(dimension.values) for dimension in self.dimensions.values())
        if count > MOST_POINTS:
            raise SqueezekitError(f"the grid has {count:,} points; shorten its lists, or choose --sampler random or tpe")
        combinations = itertools.product(*(dimension.values for dimension in self.dimensions.values()))
        return [dict(zip(self.dimensions, values, strict=True)) for values in combinations]

    def distributions(self) -> dict[str, BaseDistribution]:
        """Those that a sampler draws from."""
        if self.points:
            return {"point": IntDistribution(0, len(self.points) - 1)}
        return {name: dimension.distribution() for name, dimension in self.dimensions.items()}

    def encoded(self, fields: Fields) -> dict[str, Any]:
        """Fields as a sampler draws them."""
        if self.points:
            return {"point": self.points.index(fields)}
        return {name: json.dumps(value) if isinstance(value, list) else value for name, value in fields.items()}

    def decoded(self, drawn: Mapping[str, Any]) -> Fields:
        """The fields that were drawn."""
        if self.points:
            return dict(self.points[drawn["point"]])
        return {name: dimension.decoded(drawn[name]) for name, dimension in self.dimensions.items()}

    def suggested(self, trial: Trial) -> Fields:
        """What a trial is to train."""
        drawn: Fields = {}
        for name, kind in self.distributions().items():
            if isinstance(kind, CategoricalDistribution):
                drawn[name] = trial.suggest_categorical(name, kind.choices)
            elif isinstance(kind, IntDistribution):
                drawn[name] = trial.suggest_int(name, kind.low, kind.high, log=kind.log)
            elif isinstance(kind, FloatDistribution):
                drawn[name] = trial.suggest_float(name, kind.low, kind.high, log=kind.log)
        return self.decoded(drawn)

    @property
    def fields(self) -> list[str]:
        """The names of what varies."""
        return list(self.dimensions) or list(dict.fromkeys(name for point in self.points for name in point))


def named_space(name: str, network: str, fields: Fields | None = None) -> Space:
    """A built-in space, or that of a TOML file, for a named network with other `fields`; raises SqueezekitError."""
    if name == "fire-size":
        return Space(points=tuple(fire_sizes(network, fields or {})))
    if name in BUILT_IN:
        return space_of(BUILT_IN[name], network, name)
    path = expanded(name)
    if name in SPACES_OF_0_1 and not path.exists():
        raise SqueezekitError(f"space '{name}' is called '{SPACES_OF_0_1[name]}' now")
    if not path.exists():
        raise SqueezekitError(f"space '{name}' is neither a file nor one of {', '.join([*BUILT_IN, 'fire-size'])}")
    return space_of(read_outside_toml(path), network, str(path))


def space_of(tables: Mapping[str, Any], network: str, source: str) -> Space:
    """The space that the tables [network] and [recipe] say, or the list [[points]]; raises SqueezekitError, naming `source`."""
    if "points" in tables:
        return Space(points=_points(tables, network, source))
    if unknown := set(tables) - {"network", "recipe"}:
        raise SqueezekitError(f"{source}: unknown table [{unknown.pop()}]; a space has [network] and [recipe]")
    dimensions: dict[str, Choice | Range] = {}
    for table, fields in tables.items():
        if not isinstance(fields, Mapping):
            raise SqueezekitError(f"{source}: '{table}' must be a table; write [{table}] and its fields below")
        for name, content in fields.items():
            try:
                dimensions[name] = _dimension(table, name, content, network)
            except SqueezekitError as error:
                raise SqueezekitError(f"{source}: {error}") from None
    if not dimensions:
        raise SqueezekitError(f"{source}: nothing varies; give lists or ranges in [network] and [recipe]")
    return Space(dimensions)


def _points(tables: Mapping[str, Any], network: str, source: str) -> tuple[Fields, ...]:
    points = tables["points"]
    if len(tables) > 1 or not isinstance(points, list) or not points or not all(isinstance(point, dict) for point in points):
        raise SqueezekitError(f"{source}: write [[points]] and its fields below, once for each point, and nothing else")
    for name, value in ((name, value) for point in points for name, value in point.items()):
        try:
            _dimension(table_of(name, network_class(network)), name, [value], network)
        except SqueezekitError as error:
            raise SqueezekitError(f"{source}: {error}") from None
    return tuple(points)


def _dimension(table: str, name: str, content: Any, network: str) -> Choice | Range:
    belongs = table_of(name, network_class(network))
    if belongs == "run":
        raise SqueezekitError(f"'{name}' is of the run, and the same for all trials; give it as a flag")
    if name in ("classes", "channels"):
        raise SqueezekitError(f"'{name}' is that of the images, and the same for all trials; leave it out")
    if belongs != table:
        raise SqueezekitError(f"'{name}' belongs into [{belongs}]")
    if isinstance(content, list):
        if not content:
            raise SqueezekitError(f"{name}: the list is empty")
        _check(table, name, content, network)
        return Choice(tuple(content))
    if isinstance(content, Mapping):
        return _range(table, name, content, network)
    raise SqueezekitError(f"{name}: give a list of values, or a range such as {{low = 0.001, high = 0.1, log = true}}")


def _range(table: str, name: str, content: Mapping[str, Any], network: str) -> Range:
    if set(content) - {"low", "high", "log", "steps"} or not {"low", "high"} <= set(content):
        raise SqueezekitError(f"{name}: a range has low and high, and may have log and steps")
    low, high, log, steps = content["low"], content["high"], content.get("log", False), content.get("steps")
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high))
    if not numbers or not low < high or (log and low <= 0) or not isinstance(log, bool):
        raise SqueezekitError(f"{name}: a range needs numbers, low below high, and both above 0 where log = true")
    if steps is not None and (not isinstance(steps, int) or steps < 2):
        raise SqueezekitError(f"{name}: steps must be a whole number, 2 or more")
    _check(table, name, [low, high], network)
    return Range(
        low, high, log, steps, integer=isinstance(low, int) and isinstance(high, int) and _is_integer(table, name, network)
    )


def _is_integer(table: str, name: str, network: str) -> bool:
    model = network_class(network) if table == "network" else Recipe
    return model.model_fields[name].annotation is int


def _check(table: str, name: str, values: Iterable[Any], network: str) -> None:
    """Every value of that field alone; what only goes wrong together is found when a trial is built."""
    model = network_class(network) if table == "network" else Recipe
    base = {"name": network, **NETWORKS[network][1]} if table == "network" else {}
    for value in values:
        try:
            model.model_validate({**base, name: value})
        except ValidationError as error:
            if error.errors()[0]["loc"][:1] == (name,):
                raise SqueezekitError(f"{first_problem(error)}, not {value!r}") from None


BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "learning-rate": {"recipe": {"learning_rate": [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1]}},
    "classic": {
        "network": {"squeeze_ratio": [0.125, 0.25, 0.375, 0.5], "share_3x3": [0.3, 0.5, 0.7], "dropout": [0.0, 0.3, 0.5]},
        "recipe": {"learning_rate": [0.0001, 0.001, 0.01]},
    },
    "regularization": {
        "network": {"dropout": [0.0, 0.3, 0.5], "batch_norm": [False, True]},
        "recipe": {"weight_decay": [0.0, 0.0001, 0.0005, 0.002]},
    },
}
SPACES_OF_0_1 = {"report": "classic", "regularisation": "regularization"}
FREQUENCIES, GROWTHS = (1, 2, 4), (0.0, 0.5, 1.0)


def fire_sizes(network: str, given: Fields) -> Iterator[Fields]:
    """Where the filters stand, at the number of parameters that the network has.

    Growth `incr_e` is 0, a half or all of `base_e`, every 1, 2 or 4 modules; `base_e` is what comes nearest to the budget.
    """
    if not {"base_e", "incr_e", "freq"} <= set(network_class(network).model_fields):
        raise SqueezekitError(f"network '{network}' has no Fire modules to vary; choose one of the SqueezeNet family")
    own = {name: value for name, value in given.items() if name in network_class(network).model_fields}
    budget = _parameters(network, own)
    for freq, growth in itertools.product(FREQUENCIES, GROWTHS):
        if growth == 0 and freq != FREQUENCIES[0]:
            continue

        def fields(base: int, freq: int = freq, growth: float = growth) -> Fields:
            return {"base_e": base, "incr_e": round(growth * base), "freq": freq}

        low, high = 2, 4096
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _parameters(network, {**own, **fields(middle)}) <= budget else (low, middle)
        yield min(fields(low), fields(high), key=lambda one: abs(_parameters(network, {**own, **one}) - budget))


def _parameters(network: str, fields: Fields) -> int:
    with without_memory():
        return sum(parameter.numel() for parameter in network_config(network, **fields).build().parameters())
