"""The images of a run: read, divided and counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.data.crops import Crops, kept_side
from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.overview import check_copies, check_different
from squeezekit.data.sources import load_images
from squeezekit.data.splits import Split, split_images
from squeezekit.data.unlabelled import UnlabelledPhotos, load_unlabelled, unlike
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.distributed import process_count
from squeezekit.training.recipe import Recipe
from squeezekit.training.settings import RunConfig


def images_of(config: RunConfig) -> ImageSource:
    """The images that a configuration names; raises SqueezekitError."""
    network, run = config.network, config.run
    return load_images(
        run.data,
        image_size=network.image_size,
        channels=network.channels,
        strict=run.strict,
        max_pixels=run.max_pixels,
        curation=run.curation,
    )


def images_to_train(config: RunConfig, channels: int | None) -> tuple[ImageSource, Split]:
    """The images that a configuration names, and which of them train and validate; `channels` None are those of the images.

    Raises SqueezekitError where they cannot be read, are all the same or too few, or with `strict` where one is in two parts.
    """
    run = config.run
    source = load_images(
        run.data,
        image_size=config.network.image_size,
        channels=channels,
        strict=run.strict,
        max_pixels=run.max_pixels,
        curation=run.curation,
    )
    check_different(source)
    split = split_images(
        source.training,
        seed=run.seed,
        validation_share=run.validation_share,
        limit=run.limit or None,
        folds=run.folds,
        fold=run.fold,
    )
    if run.strict:
        check_copies(source, split)
    return source, split


def unlabelled_of(config: RunConfig, split: Split) -> UnlabelledPhotos | None:
    """The photos without labels that a configuration names, as large as training shows images, or None where it names none.

    Those that are copies or near-copies of images that validate or test are left out. Raises SqueezekitError where none are left,
    and where several processes train.
    """
    run, network = config.run, config.network
    if not run.unlabelled:
        return None
    if process_count() > 1:
        raise SqueezekitError("--unlabelled is for one process; start it without torchrun")
    seen = _as_shown(config, config.recipe)
    source = images_of(seen)
    side = seen.network.image_size
    photos = load_unlabelled(run.unlabelled, image_size=side, channels=network.channels, max_pixels=run.max_pixels)
    kept = unlike(photos, (source.training.images[split.validation], source.test.images))
    if left_out := len(photos) - len(kept):
        say(f"{run.unlabelled}: {left_out:,} photos are left out, as copies or near-copies of images that validate or test")
    if not len(kept):
        raise SqueezekitError(f"{run.unlabelled}: holds no photo that neither validates nor tests; name others with --unlabelled")
    say(f"{run.unlabelled}: {len(kept):,} photos without labels are learnt from the teacher's answers")
    return UnlabelledPhotos(replace(photos, mirrorable=source.training.mirrorable), kept)


def _as_shown(config: RunConfig, recipe: Recipe) -> RunConfig:
    """The configuration with images as large as training sees them: larger than the network's where it crops them."""
    if not recipe.augmentation.startswith("crop"):
        return config
    larger = config.network.model_copy(update={"image_size": kept_side(config.network.image_size)})
    return config.model_copy(update={"network": larger})


def augmented(config: RunConfig, recipe: Recipe, images: ImageSet) -> tuple[ImageSet, dict[str, Any]]:
    """The images that training shows, `images` or the same ones kept larger to crop them, and how `Batches` augments them.

    Raises SqueezekitError.
    """
    options: dict[str, Any] = {"augmentation": recipe.augmentation, "shift": recipe.shift, "cutout": recipe.cutout}
    if not recipe.augmentation.startswith("crop"):
        return images, options
    kept = images_of(_as_shown(config, recipe)).training
    if kept.fingerprint != images.fingerprint:
        raise SqueezekitError(f"{config.run.data}: the images have changed meanwhile; give the same command again")
    return kept, {**options, "crops": Crops(config.network.image_size, recipe.crop, recipe.color)}


def class_weights_of(recipe: Recipe, images: ImageSet, indices: NDArray[np.int64]) -> Tensor | None:
    """What the recipe weighs the classes of these images by: float [classes], or None."""
    if recipe.class_weights == "none":
        return None
    counts = class_counts(images, indices)
    return torch.from_numpy(len(indices) / (len(counts) * counts)).float()


def class_counts(images: ImageSet, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of these images each class has: [classes]."""
    return np.bincount(images.labels[indices], minlength=len(images.classes))


def fitting_batch_size(wanted: int, images: int) -> int:
    """At most the wanted size, halved until an epoch has at least eight steps."""
    while wanted > 1 and images <= 7 * wanted:
        wanted //= 2
    return wanted
