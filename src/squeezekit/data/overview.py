"""What a training begins with, in a line: classes, images of each part, what was left out, and copies on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from squeezekit.data.class_names import mirrored_pair
from squeezekit.data.image_set import ImageSource, copies_in
from squeezekit.data.splits import Split
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.shown_text import shown


def overview(source: ImageSource, split: Split) -> Iterator[str]:
    """One line with what was found, and one for each thing that makes a result doubtful."""
    sizes = {"training": len(split.training), "validation": len(split.validation), "the test": len(source.test)}
    counted = ", ".join(f"{count:,} for {part}" for part, count in sizes.items())
    found = f"{source.name}: {len(source.training.classes)} classes; images: {counted}"
    yield shown("; ".join([found, *source.notes]))
    yield from copies(source, split)
    if pair := mirrored_pair(source.training.classes):
        yield shown(f"'{pair[0]}' and '{pair[1]}' are each other's mirror image: images are not mirrored")


def copies(source: ImageSource, split: Split) -> Iterator[str]:
    """Sentences about images that are on two sides, in two classes, or are all the same."""
    training, images = source.training, source.training.images
    tested = int(copies_in(images, source.test.images).sum())
    if tested:
        yield f"images in both the training and the test part: {tested:,}; this flatters the test, remove them from one"
    first = training.first_copies
    validated = int(np.isin(first[split.validation], first[split.training]).sum())
    if validated:
        yield f"images for both training and validation: {validated:,}; this flatters validation, remove them from one"
    torn = sum(int((part.labels != part.labels[part.first_copies]).sum()) for part in (training, source.test))
    if torn:
        yield f"images that are copies of one in another class: {torn:,}; decide for one class"
    repeated = int((first != np.arange(len(first))).sum())
    if repeated and not validated:
        yield f"images that are copies of others: {repeated:,}; they stay on one side with them"


def check_copies(source: ImageSource, split: Split) -> None:
    """With `--strict`, copies on two sides or in two classes are an error; raises SqueezekitError."""
    if found := next((sentence for sentence in copies(source, split) if "on one side" not in sentence), None):
        raise SqueezekitError(f"{source.name}: {found}, or leave out --strict")


def check_different(source: ImageSource) -> None:
    """Whether there is anything to learn; raises SqueezekitError where all images are the same once they are decoded."""
    if len(source.training) > 1 and not source.training.first_copies.any():
        raise SqueezekitError(
            f"{source.name}: all {len(source.training):,} images for training are the same once they are decoded "
            "(transparent parts become white); give images that differ"
        )
