"""How many foreign pictures a model turns away, and how many of its own it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.data.batches import Batches
from squeezekit.data.image_file import UnreadableImageError, read_image
from squeezekit.data.image_set import ImageSet
from squeezekit.data.picture_files import list_pictures
from squeezekit.data.sources import Data
from squeezekit.inference.evaluation import tested_images
from squeezekit.inference.known_images import KnownImages
from squeezekit.inference.model import Model, load_model
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.measurement import images_at_once, logits_of

# Standard errors either side of a share's 95 % interval.
DEVIATIONS = 1.96


@dataclass(frozen=True)
class Share:
    """A share 0…1 of `images`, with its 95 % interval (Wilson, 1927)."""

    share: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, chosen: NDArray[np.bool_]) -> Share:
        """The share of True among [n], n at least 1."""
        n, share, z = len(chosen), float(chosen.mean()), DEVIATIONS
        centre, half = share + z * z / (2 * n), z * (share * (1 - share) / n + (z / (2 * n)) ** 2) ** 0.5
        low, high = ((centre + side * half) / (1 + z * z / n) for side in (-1, 1))
        return cls(share, max(low, 0.0), min(high, 1.0), n)


@dataclass(frozen=True)
class ForeignShare:
    """What was turned away of a `folder` of foreign pictures: by the model's rule, and by a threshold of the largest probability
    that keeps as many of its own test images. So many of its pictures were `unreadable`.
    """

    folder: str
    turned_away: Share
    by_softmax: Share
    unreadable: int


@dataclass(frozen=True)
class ForeignImages:
    """`kept`: the share of its own test images that a model knows; `foreign`: what it turns away of each folder."""

    kept: Share
    foreign: tuple[ForeignShare, ...]


def foreign_images(
    model: str | PathLike[str], folders: Sequence[str | PathLike[str]], data: Data | None = None, limit: int = 2000
) -> ForeignImages:
    """Measure the rule for none of these of a file on its own test images and on folders of pictures of other things.

    Of more than `limit` images in a place, evenly chosen ones are used. `model` and `data` are those of `evaluate`. Raises
    SqueezekitError, also for a model without such a rule and a folder without a picture that can be read.
    """
    loaded = load_model(model)
    if loaded.none_of_these is None:
        raise SqueezekitError(f"{loaded.name}: has no rule for none of these; give the .sqz file that compress makes of a run")
    own = tested_images(loaded, data)
    if not len(own):
        raise SqueezekitError(f"{loaded.name}: there are no test images")
    known_images = KnownImages(loaded)
    known, certain = _decided(loaded, known_images, own.images[_evenly(len(own), limit)])
    # As many of one's own stay as by the rule.
    threshold = np.sort(certain)[(~known).sum()] if known.any() else np.inf
    found = []
    for place in folders:
        folder = fspath(place)
        pixels, unreadable = _pictures(loaded, folder, limit)
        its_known, its_certain = _decided(loaded, known_images, pixels)
        found.append(ForeignShare(folder, Share.of(~its_known), Share.of(its_certain < threshold), unreadable))
    return ForeignImages(Share.of(known), tuple(found))


def kept_share(model: Model, images: ImageSet, limit: int = 2000) -> Share:
    """The share of images, n at least 1, that a model knows; of more than `limit`, of evenly chosen ones."""
    known, _ = _decided(model, KnownImages(model), images.images[_evenly(len(images), limit)])
    return Share.of(known)


def _decided(model: Model, known_images: KnownImages, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of images: whether they are known, and their largest probability, both [n]."""
    logits = _logits(model, pixels)
    probabilities = torch.softmax(logits.double() / model.temperature, 1).max(1).values
    return known_images(pixels, logits), probabilities.numpy()


def _logits(model: Model, pixels: NDArray[np.uint8]) -> Tensor:
    config, images = model.config, ImageSet(pixels, np.zeros(len(pixels), np.int64), model.classes, "", mirrorable=False)
    batches = Batches(images, batch_size=images_at_once(config.image_size), mean=config.mean, std=config.std)
    return logits_of(model.network, batches)[0]


def _pictures(model: Model, folder: str, limit: int) -> tuple[NDArray[np.uint8], int]:
    """Pictures of a folder, uint8 [n, side, side, channels], and the number of those that cannot be read."""
    paths = [file.path for file in list_pictures(folder).files]
    pixels, unreadable = [], 0
    for place in _evenly(len(paths), limit):
        try:
            pixels.append(read_image(paths[place], model.config.image_size, model.config.channels))
        except UnreadableImageError:
            unreadable += 1
    if not pixels:
        raise SqueezekitError(f"{folder}: holds no picture that can be read; give a folder of JPEG, PNG, BMP or WebP files")
    return np.stack(pixels), unreadable


def _evenly(count: int, limit: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(limit, count)).astype(np.int64)
