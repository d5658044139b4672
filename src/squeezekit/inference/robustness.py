"""How robust a trained network is to corrupted pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.data.sources import Data
from squeezekit.inference.evaluation import tested_images
from squeezekit.inference.model import load_model
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.measurement import images_at_once, measure

# Ours for small images, after kinds of Hendrycks and Dietterich, 2019, arXiv 1903.12261: Gaussian blur, its deviation in
# thirty-seconds of the side; Gaussian noise, its deviation in grey levels; contrast, times a factor; JPEG, its quality.
STRENGTHS: dict[str, tuple[float, ...]] = {
    "blur": (0.5, 1, 1.5),
    "noise": (4, 8, 16, 32),
    "contrast": (0.75, 0.5, 0.25),
    "jpeg": (75, 50, 25, 10),
}


@dataclass(frozen=True)
class CorruptionAccuracy:
    """Accuracy 0…1 on `images` pictures that were all corrupted in one way; `kind` is `none` for pictures as they are."""

    kind: str
    strength: float
    accuracy: float
    images: int


def robustness(model: str | PathLike[str], data: Data | None = None, limit: int = 2000) -> list[CorruptionAccuracy]:
    """Accuracy on test images as they are, then blurred, noisy, pale and compressed, each at rising strength.

    Of more than `limit` images, evenly chosen ones are used. `model` and `data` are those of `evaluate`; raises SqueezekitError.
    """
    if limit < 1:
        raise SqueezekitError(f"limit {limit}: give at least 1")
    loaded = load_model(model)
    config, test = loaded.config, tested_images(loaded, data)
    if not len(test):
        raise SqueezekitError(f"{loaded.name}: there are no test images")
    chosen = test.subset(np.linspace(0, len(test) - 1, min(limit, len(test))).astype(np.int64))

    def accuracy_on(kind: str, strength: float, images: ImageSet) -> CorruptionAccuracy:
        size = images_at_once(config.image_size)
        batches = Batches(images, batch_size=size, mean=config.mean, std=config.std)
        return CorruptionAccuracy(kind, strength, measure(loaded.network, batches).accuracy, len(images))

    rows = [accuracy_on("none", 0, chosen)]
    for kind, strengths in STRENGTHS.items():
        rows += [accuracy_on(kind, strength, corrupted(chosen, kind, strength)) for strength in strengths]
    return rows


def corrupted(images: ImageSet, kind: str, strength: float) -> ImageSet:
    """All of them corrupted in one of the ways of STRENGTHS; the same noise each time."""
    random = np.random.default_rng(0)
    pixels = np.stack([_corrupted(each, kind, strength, random) for each in images.images])
    return ImageSet(pixels, images.labels, images.classes, f"{images.fingerprint} {kind} {strength:g}", images.mirrorable)


def _corrupted(pixels: NDArray[np.uint8], kind: str, strength: float, random: np.random.Generator) -> NDArray[np.uint8]:
    if kind == "noise":
        noisy = pixels + random.normal(0, strength, pixels.shape)
        return np.rint(noisy).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    return np.asarray(_FILTERS[kind](picture, strength), np.uint8).reshape(pixels.shape)


def _compressed(picture: Image.Image, quality: float) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(quality))
    return Image.open(file)


_FILTERS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "blur": lambda picture, deviation: picture.filter(ImageFilter.GaussianBlur(deviation * picture.width / 32)),
    "contrast": lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor),
    "jpeg": _compressed,
}
