"""What a network takes of a chip, told without writing it: before it is trained by its shapes, of a `.sqz` file exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from squeezekit.export.c.tables import StoreWeights, tables_of
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.memory import MemoryOfOrders, MemoryPlanner
from squeezekit.integer.outline import outline_of
from squeezekit.integer.plan import IntegerPlan
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.config import NetworkConfig


@dataclass(frozen=True)
class StoredFootprint:
    """Of one way to store weights: bytes of constants in `flash` and of variables in `ram`, and `macs` done for an image."""

    flash: int
    ram: int
    macs: int


@dataclass(frozen=True)
class Footprint:
    """What `export_c` would write: `feature_maps` in bytes of RAM, and by the way in which weights are stored the whole.

    Code, some 3,500 bytes, stack, some 1,500, names of classes, and the bytes of a `picture`, which the caller has, are left out.
    Without a trained file only "dense" is known.
    """

    picture: int
    feature_maps: MemoryOfOrders
    stored: dict[StoreWeights, StoredFootprint]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def footprint_of(config: NetworkConfig) -> Footprint:
    """That of an untrained network; raises NoIntegerForm."""
    return _footprint(outline_of(config), ("dense",))


def footprint_of_file(path: Path) -> Footprint:
    """That of a `.sqz` file, in all ways where it states its activation ranges; raises NoIntegerForm."""
    sqz = read_sqz(path)
    outline = outline_of(sqz.network)
    if sqz.activation_ranges is None:
        return _footprint(outline, ("dense",))
    return _footprint(integer_plan(load_model(path)), get_args(StoreWeights))


def _footprint(plan: IntegerPlan, ways: tuple[StoreWeights, ...]) -> Footprint:
    planner = MemoryPlanner(plan)
    stored = dict[StoreWeights, StoredFootprint]()
    for way in ways:
        tables = tables_of(plan, store_weights=way, planner=planner)
        stored[way] = StoredFootprint(tables.memory.constants, tables.memory.variables, tables.layout.macs)
    return Footprint(plan.feature_maps[0].bytes, planner.orders(), stored)
