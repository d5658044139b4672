"""The fields of a network and the shapes of its weights as a file holds them, which somebody else may have written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..system.errors import SqueezekitError
from .parts import ConvolutionLayer, Shape, not_its_own

MAX_KERNEL = 7
# What 16 bits of `struct sqz_layer` count.
MAX_CHANNELS = (1 << 16) - 1


@dataclass
class StoredWeights:
    """The shapes of parameters, each of which is taken once."""

    shapes: Mapping[str, Shape]
    left: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.left = set(self.shapes)

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.shapes

    def take(self, name: str, *, linear: bool = False) -> ConvolutionLayer:
        """A layer with a bias, a `linear` one as one of 1 × 1 filters."""
        shape, bias = self.shapes.get(f"{name}.weight", ()), self.shapes.get(f"{name}.bias", ())
        shape = (*shape, 1, 1) if linear and len(shape) == 2 else shape
        if len(shape) != 4 or not all(shape) or shape[2] != shape[3] or shape[2] > MAX_KERNEL or bias != shape[:1]:
            raise not_its_own()
        if max(shape) > MAX_CHANNELS:
            raise SqueezekitError(f"a layer of {max(shape):,} channels is too wide; train a network of at most {MAX_CHANNELS:,}")
        self.left -= {f"{name}.weight", f"{name}.bias"}
        return ConvolutionLayer(name, shape)


@dataclass(frozen=True)
class StoredFields:
    """The fields of a configuration, which somebody else may have written."""

    values: Mapping[str, Any]

    def whole(self, name: str, least: int, most: int, otherwise: int) -> int:
        value = self.values.get(name, otherwise)
        if type(value) is not int or not least <= value <= most:
            raise damaged(name)
        return value

    def flag(self, name: str, otherwise: bool = False) -> bool:
        value = self.values.get(name, otherwise)
        if type(value) is not bool:
            raise damaged(name)
        return value

    def word(self, name: str, otherwise: str) -> str:
        value = self.values.get(name, otherwise)
        if not isinstance(value, str):
            raise damaged(name)
        return value

    def numbers(self, name: str, least: float, most: float, counts: tuple[int, ...], otherwise: float) -> tuple[float, ...]:
        values = self.values.get(name, (otherwise,))
        if not isinstance(values, list | tuple) or len(values) not in counts:
            raise damaged(name)
        if not all(type(value) in (int, float) and least <= value <= most for value in values):
            raise damaged(name)
        return tuple(map(float, values))

    def image(self) -> tuple[int, int, int, tuple[float, ...], tuple[float, ...]]:
        """Side, channels, classes, mean and deviation."""
        side, channels = self.whole("image_size", 8, 1024, 32), self.whole("channels", 1, 4, 3)
        mean = self.numbers("mean", -1000, 1000, (1, channels), 0.0)
        return side, channels, self.whole("classes", 2, 65535, 10), mean, self.numbers("std", 1e-4, 1000, (1, channels), 1.0)

    def halvings(self) -> Iterator[bool]:
        """Of each block, whether it halves both sides."""
        depths, halved = self.values.get("depths", (2, 2, 2)), self.values.get("halved", (False, True, True))
        if not (isinstance(depths, list | tuple) and isinstance(halved, list | tuple) and len(depths) == len(halved) <= 8):
            raise damaged("depths")
        for depth, halves in zip(depths, halved, strict=True):
            if type(depth) is not int or not 1 <= depth <= 64 or type(halves) is not bool:
                raise damaged("depths")
            yield from (halves and number == 0 for number in range(depth))


def damaged(name: str) -> SqueezekitError:
    """For a field that no network has."""
    return SqueezekitError(f"its network: {name} is none that a network can have; get the file again")
