"""What suits a folder of pictures: where training starts, with which recipe, for how long; each choice with its reason."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from squeezekit.data.cifar10_archive import find_batches
from squeezekit.data.curation import Curation
from squeezekit.data.folder_listing import list_folder
from squeezekit.data.image_file import UnreadableImageError, file_content, picture_size
from squeezekit.integer.outline import ram_of
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.pretrained.facts import facts
from squeezekit.pretrained.files import model_path, pretrained_names
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.training.fine_tuning import MOST_EPOCHS

# Pictures with a shorter side of so many pixels are photos; smaller ones are digits, icons, CIFAR-10.
PHOTO_SIDE = 64
# Of so many files the headers are read.
SAMPLE = 200
# Images that a fine-tuning sees, by which epochs are chosen, and the fewest.
IMAGES_SEEN, FEWEST_EPOCHS = 30_000, 8
# Fields of a network that leave the choice of one open.
OPEN_FIELDS = {"image_size", "channels", "mirrored"}
# For whom nothing else is said.
MAX_BYTES = 150_000
# What a weight of a fine-tuned network takes after quantisation-aware training (docs/log.md).
BITS_A_WEIGHT = 1.3
# Sides at which networks for photos see them, the most accurate first, and the one up to which smaller photos are enlarged.
SIDES, ENLARGED_TO = (192, 160, 128, 112, 96, 80, 64), 128


@dataclass(frozen=True)
class Budget:
    """What a finished classifier may take: bytes of its file, multiply-adds of an image, RAM of its feature maps as C."""

    max_bytes: int | None = None
    max_macs: int | None = None
    max_ram: int | None = None

    def allows(self, given: Start) -> bool:
        """Whether a network fits once it has been trained on other classes and compressed for them."""
        return (
            given.bytes <= (self.max_bytes or MAX_BYTES)
            and (self.max_macs is None or given.macs <= self.max_macs)
            and (self.max_ram is None or given.ram <= self.max_ram)
        )

    def __str__(self) -> str:
        parts = [f"{self.max_bytes or MAX_BYTES:,} bytes"]
        parts += [f"{self.max_macs:,} multiply-adds"] if self.max_macs is not None else []
        parts += [f"{self.max_ram:,} bytes of RAM"] if self.max_ram is not None else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Start:
    """A pretrained network as it sees photos of one size, and about what it takes with other classes."""

    name: str
    network: NetworkConfig
    bytes: int
    macs: int

    @property
    def image_size(self) -> int:
        """Side of an image in pixels."""
        return self.network.image_size

    @cached_property
    def ram(self) -> int:
        """Bytes that its feature maps take as C; planning them takes longer than all else, and few ask."""
        return ram_of(self.network).least


@dataclass(frozen=True)
class Suggestion:
    """Where training starts, None for random weights; fields that differ from the defaults; a line for each choice."""

    init_from: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def suitable(data: str | Path, budget: Budget, given: Mapping[str, Any]) -> Suggestion:
    """What an expert would do with the pictures of a folder; `given` are fields that the user has chosen.

    Photos start from a pretrained photo network, the most accurate one within the budget; small pictures, what is no folder, and
    networks whose fields are given, from random weights. Raises SqueezekitError where no photo network is within the budget.
    """
    folder = expanded(data)
    if not folder.is_dir() or find_batches(folder) or given.keys() & SqueezeNetConfig.model_fields.keys() - OPEN_FIELDS:
        return Suggestion()
    listing = list_folder(folder, Curation(given.get("labels", ""), leave_out=given.get("leave_out", "")))
    pictures, side = len(listing.paths), _typical_side([os.path.join(listing.root, path) for path in listing.paths])  # noqa: PTH118
    if side < PHOTO_SIDE:
        return Suggestion()
    start = _start(budget, len(listing.classes), max(side, ENLARGED_TO))
    lines = [
        f"{pictures:,} pictures, their shorter side {side} pixels: photos",
        f"start: {start.name} at {start.image_size} pixels, {start.macs / 1e6:.0f} M multiply-adds; the most accurate for photos "
        f"within {budget} (--init-from, --image-size, --max-bytes, --max-macs, --max-ram; from random weights: --network NAME)",
    ]
    fields: dict[str, Any] = {} if "image_size" in given else {"image_size": start.image_size}
    if not {"epochs", "minutes"} & given.keys():
        fields["epochs"] = min(max(round(IMAGES_SEEN / max(pictures, 1)), FEWEST_EPOCHS), MOST_EPOCHS)
        lines.append(f"epochs: {fields['epochs']}, about {IMAGES_SEEN:,} images in all (--epochs, --minutes)")
    return Suggestion(start.name, fields, tuple(lines))


def _start(budget: Budget, classes: int, most: int) -> Start:
    """The most accurate one for photos that are seen at `most` pixels or fewer."""
    starts = [start for name in photo_models() for start in _as_seen(name, classes, most)]
    for start in starts:
        if budget.allows(start):
            return start
    least = min(starts, key=lambda start: (start.bytes, start.macs))
    takes = Budget(least.bytes, least.macs, least.ram)
    raise SqueezekitError(
        f"no pretrained network for photos is within {budget}: the smallest, {least.name} at {least.image_size} pixels, takes "
        f"about {takes}; allow that, or train --network NAME"
    )


def photo_models() -> list[str]:
    """The pretrained networks for photos, the most accurate first."""
    return sorted((name for name in pretrained_names() if name.startswith("photo-")), key=lambda name: -facts(name).parameters)


def _as_seen(name: str, classes: int, most: int) -> Iterator[Start]:
    network = read_sqz(model_path(name)).network.model_copy(update={"classes": max(classes, 2)})
    for side in (side for side in SIDES if side <= most):
        seen = network.model_copy(update={"image_size": side})
        table = layer_table(seen)
        yield Start(name, seen, round(table.parameters * BITS_A_WEIGHT / 8), table.macs)


def _typical_side(paths: list[str]) -> int:
    """The median of the shorter sides of pictures, of some of them, in pixels; 0 where none can be read."""
    sides = []
    for path in islice(paths, 0, None, max(len(paths) // SAMPLE, 1)):
        with suppress(OSError, UnreadableImageError):
            sides.append(min(picture_size(file_content(path))))
    return round(statistics.median(sides)) if sides else 0
