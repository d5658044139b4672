"""What a training begins with, in a line: classes, images of each part, what was left out, and copies on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.class_names import mirrored_pair
from squeezekit.data.image_set import ImageSource, copies_in
from squeezekit.data.picture_facts import MOST_NOISE
from squeezekit.data.splits import Split
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.shown_text import shown

# Times as many images as the smallest class has, that are worth a word.
UNEVEN = 4


def overview(source: ImageSource, split: Split) -> Iterator[str]:
    """One line with what was found, and one for each thing that makes a result doubtful."""
    sizes = {"training": len(split.training), "validation": len(split.validation), "the test": len(source.test)}
    counted = ", ".join(f"{count:,} for {part}" for part, count in sizes.items())
    found = f"{source.name}: {len(source.training.classes)} classes; images: {counted}"
    yield shown("; ".join([found, *source.notes]))
    yield from copies(source, split)
    yield from findings(source, split)
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


def findings(source: ImageSource, split: Split) -> Iterator[str]:
    """At most two lines about what a look at the images shows beside copies: near-copies and blank ones, uneven classes."""
    found = [*near_copies(source, split)]
    if count := sum(int(blank(part.images).sum()) for part in (source.training, source.test)):
        found.append(f"images of one colour alone: {count:,}")
    if found:
        yield "; ".join([*found, "squeezekit check shows them"])
    training = source.training
    counts = np.bincount(training.labels, minlength=len(training.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] >= UNEVEN * counts[least] > 0:
        names = (training.classes[each] for each in (most, least))
        first, last = (f"'{name}' has {counts[each]:,}" for name, each in zip(names, (most, least), strict=True))
        yield shown(f"classes are uneven: {first} images for training, {last}; --class-weights balanced makes up for it")


def near_copies(source: ImageSource, split: Split) -> Iterator[str]:
    """Clauses about images that are nearly those of others, beside those that are the same."""
    training, test = source.training, source.test
    alike, copied = (first != np.arange(len(training)) for first in (training.first_alike, training.first_copies))
    if number := int(alike.sum() - copied.sum()):
        torn = int((training.labels != training.labels[training.first_alike]).sum())
        other = f", {torn:,} of another class than they" * bool(torn)
        yield f"near-copies of other images: {number:,}; they stay on one side with them{other}"
    if training.near_copies is not None and test.near_copies is not None:
        crossing = np.isin(training.near_copies, test.near_copies) & ~copies_in(training.images, test.images)
        if crossing.any():
            yield f"near-copies of images for the test among the others: {int(crossing.sum()):,}; this flatters the test"
    if validated := int(np.isin(training.first_alike[split.validation], training.first_alike[split.training]).sum()):
        yield f"near-copies of training images that validate: {validated:,}; this flatters validation"


def blank(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the images, uint8 [n, h, w, c], hold one colour and no more than noise: bool [n]."""
    # Few pixels tell most images apart from blank ones, so that few are read whole.
    some = images[:, :: max(images.shape[1] // 8, 1), :: max(images.shape[2] // 8, 1)]
    found: NDArray[np.bool_] = np.ptp(some, axis=(1, 2)).max(1) <= MOST_NOISE
    for index in np.flatnonzero(found):
        found[index] = np.ptp(images[index], axis=(0, 1)).max() <= MOST_NOISE
    return found


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
