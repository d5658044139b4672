"""What suits a folder of pictures: where training starts, with which recipe, for how long; each choice with its reason."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from squeezekit.data.cifar10_archive import find_batches
from squeezekit.data.image_file import UnreadableImageError, file_content, picture_size
from squeezekit.data.picture_files import list_pictures
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.pretrained.facts import Facts, facts
from squeezekit.pretrained.files import pretrained_names
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

# Pictures with a shorter side of so many pixels are photos; smaller ones are digits, icons, CIFAR-10.
PHOTO_SIDE = 64
# Of so many files the headers are read.
SAMPLE = 200
# Images that a fine-tuning sees, by which epochs are chosen, within these bounds.
IMAGES_SEEN, FEWEST_EPOCHS, MOST_EPOCHS = 60_000, 10, 60
# Fields of a network that leave the choice of one open.
OPEN_FIELDS = {"image_size", "channels", "mirrored"}
# For whom nothing else is said.
MAX_BYTES = 150_000
# What a weight of a fine-tuned network takes after quantisation-aware training (docs/log.md).
BITS_A_WEIGHT = 1.5


@dataclass(frozen=True)
class Budget:
    """What a finished classifier may take: bytes of its file, multiply-adds of an image, bytes of its feature maps in int8."""

    max_bytes: int | None = None
    max_macs: int | None = None
    max_ram: int | None = None

    def allows(self, model: Facts) -> bool:
        """Whether a pretrained model fits once it has been trained on other classes and compressed for them."""
        return (
            _expected_bytes(model) <= (self.max_bytes or MAX_BYTES)
            and (self.max_macs is None or model.macs <= self.max_macs)
            and (self.max_ram is None or model.activation_bytes <= self.max_ram)
        )


@dataclass(frozen=True)
class Choice:
    """Where training starts, None for random weights; fields that differ from the defaults; a line for each choice."""

    init_from: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def suitable(data: str | Path, budget: Budget, given: Mapping[str, Any]) -> Choice:
    """What an expert would do with the pictures of a folder; `given` are fields that the user has chosen.

    Photos start from a pretrained photo network, the most accurate one within the budget; small pictures, what is no folder, and
    networks whose fields are given, from random weights. Raises SqueezekitError where no photo network is within the budget.
    """
    folder = expanded(data)
    if not folder.is_dir() or find_batches(folder) or given.keys() & SqueezeNetConfig.model_fields.keys() - OPEN_FIELDS:
        return Choice()
    files = list_pictures(folder).files
    side = _typical_side([file.path for file in files])
    if side < PHOTO_SIDE:
        return Choice()
    model = _photo_model(budget)
    lines = [
        f"{len(files):,} pictures, their shorter side {side} pixels: photos",
        f"start: {model.name}, {model.image_size} pixels, {model.macs / 1e6:.0f} M multiply-adds; the most accurate for photos "
        f"within {_shown(budget)} (--init-from, --max-bytes, --max-macs, --max-ram; from random weights: --network NAME)",
    ]
    fields: dict[str, Any] = {}
    if not {"epochs", "minutes"} & given.keys():
        fields["epochs"] = min(max(round(IMAGES_SEEN / max(len(files), 1)), FEWEST_EPOCHS), MOST_EPOCHS)
        lines.append(f"epochs: {fields['epochs']}, about {IMAGES_SEEN:,} images in all (--epochs, --minutes)")
    return Choice(model.name, fields, tuple(lines))


def photo_models() -> list[Facts]:
    """The pretrained networks for photos, the most accurate first."""
    return sorted((facts(name) for name in pretrained_names() if name.startswith("photo-")), key=lambda each: -each.macs)


def _photo_model(budget: Budget) -> Facts:
    models = photo_models()
    for model in models:
        if budget.allows(model):
            return model
    least = models[-1]
    takes = Budget(_expected_bytes(least), least.macs, least.activation_bytes)
    raise SqueezekitError(
        f"no pretrained network for photos is within {_shown(budget)}: the smallest, {least.name}, takes about {_shown(takes)}; "
        "allow that, or give --network"
    )


def _expected_bytes(model: Facts) -> int:
    return round(model.parameters * BITS_A_WEIGHT / 8)


def _typical_side(paths: list[str]) -> int:
    """The median of the shorter sides of pictures, of some of them, in pixels; 0 where none can be read."""
    sides = []
    for path in islice(paths, 0, None, max(len(paths) // SAMPLE, 1)):
        with suppress(OSError, UnreadableImageError):
            sides.append(min(picture_size(file_content(path))))
    return round(statistics.median(sides)) if sides else 0


def _shown(budget: Budget) -> str:
    parts = [f"{budget.max_bytes or MAX_BYTES:,} bytes"]
    if budget.max_macs is not None:
        parts.append(f"{budget.max_macs:,} multiply-adds")
    if budget.max_ram is not None:
        parts.append(f"{budget.max_ram:,} bytes of RAM")
    return ", ".join(parts)
