"""Training, validation and test parts: the test part by content, the validation part by seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squeezekit.data.groups import divided, numbered
from squeezekit.data.image_set import ImageSet
from squeezekit.system.errors import SqueezekitError

TEST_PERCENT = 15


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a training set: int64, ascending, without overlap."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]


def split_images(
    images: ImageSet, *, seed: int, validation_share: float = 0.1, limit: int | None = None, folds: int = 0, fold: int = 0
) -> Split:
    """Divide a training set into training and validation, every class in proportion, the same for the same seed.

    Images with the same pixels stay on one side, and so do near-copies and groups. A validation part that the source itself has
    validates, whatever `validation_share` is. `limit` first keeps that many images, again every class in proportion and by seed
    (a larger limit keeps all that a smaller one kept). With `folds`, that many parts of equal size validate in turn instead: part
    `fold`, from 0, validates, the others train; over all parts each image validates once. With a share of 0 all images train, and
    none validates.

    Raises SqueezekitError when the share is not at least 0 and below 1, there is no such fold, or a class has too few different
    images for at least one to train with and, unless the share is 0, one to validate with.
    """
    if images.validation and not folds:
        return _as_given(images, seed, limit)
    return split_training(
        images.labels,
        classes=images.classes,
        seed=seed,
        validation_share=validation_share,
        limit=limit,
        folds=folds,
        fold=fold,
        first_copies=images.first_copies,
        first_together=images.first_together,
    )


def split_training(
    labels: ArrayLike,
    *,
    classes: Sequence[str],
    seed: int,
    validation_share: float = 0.1,
    limit: int | None = None,
    folds: int = 0,
    fold: int = 0,
    first_copies: NDArray[np.int64] | None = None,
    first_together: NDArray[np.int64] | None = None,
) -> Split:
    """`split_images` for labels alone: integers [n], indices into `classes`.

    first_copies: for each image the index of the first one that is the same, int64 [n]; without it all are different.
    first_together: for each image the index of the first one that must be on its side, int64 [n]; by default that of copies.
    """
    if not 0 <= validation_share < 1:
        raise SqueezekitError(f"a validation share of {validation_share:g} is not possible: give 0 or more, and less than 1")
    if folds:
        validation_share = _share_of_a_fold(folds, fold)
    labels = np.asarray(labels, dtype=np.int64)
    copies = np.arange(len(labels)) if first_copies is None else first_copies
    _check_counts(labels[np.unique(copies)], classes, validation_share)
    kept = _kept(labels, limit, classes, seed, _fewest_images(validation_share))
    if not validation_share:
        return Split(np.sort(kept), kept[:0])
    if first_together is not None and (first_together != copies).any():
        return _sides(kept, _grouped(labels[kept], first_together[kept], classes, validation_share, folds, fold, seed))
    different, group = _different(kept, copies)
    if len(different) < len(kept):
        _check_counts(labels[different], classes, validation_share)
    ours = labels[different]
    validates = _folded(ours, folds, fold, seed) if folds else _stratified(ours, validation_share, seed)
    return _sides(kept, validates[group])


def chosen_for_test(labels: Sequence[int], hashes: Sequence[bytes], groups: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
    """Which images are for the final test, as bool [n], decided by their content alone.

    Images of one number in `groups`, integers [n], belong together; by default those of the same content do. In each class the
    groups are ordered by the least SHA-256 of their images; the first that make 15 % of the class (rounded, at least one image)
    go to test, with all their images in any class. A group of more than 30 % of a class is passed over while there are others.
    No seed, file name or machine matters, and no group stands on both sides.
    """
    group = numbered(hashes) if groups is None else groups
    leaders: dict[int, bytes] = {}
    for number, content_hash in zip(group.tolist(), hashes, strict=True):
        leaders[number] = min(leaders.get(number, content_hash), content_hash)
    leader = [leaders[number] for number in group.tolist()]
    by_class: dict[int, Counter[bytes]] = {}
    for label, name in zip(labels, leader, strict=True):
        by_class.setdefault(label, Counter())[name] += 1
    chosen: set[bytes] = set()
    for sizes in by_class.values():
        missing = count = max((sizes.total() * TEST_PERCENT + 50) // 100, 1)
        small = sorted(name for name in sizes if sizes[name] <= 2 * count)
        for name in small or [min(sizes, key=lambda name: (sizes[name], name))]:
            if missing > 0:
                chosen.add(name)
                missing -= sizes[name]
    return np.array([name in chosen for name in leader], dtype=np.bool_)


def _check_counts(labels: NDArray[np.int64], classes: Sequence[str], share: float) -> None:
    """Whether there are enough different images of each class for both sides; raises SqueezekitError."""
    counts = np.bincount(labels, minlength=len(classes))
    fewest, minimum = int(np.argmin(counts)), _fewest_images(share)
    if counts[fewest] < minimum:
        raise SqueezekitError(
            f"class '{classes[fewest]}' holds {_images(counts[fewest])} for training (copies count once, in their first class); "
            f"a validation share of {share:g} needs at least {minimum}: add images, remove the class, or raise --validation-share"
        )


def _different(kept: NDArray[np.int64], copies: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first image of each group of identical ones, in the order of `kept`, and the number of each kept image's group."""
    _, first, group = np.unique(copies[kept], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return kept[first[order]], rank[group]


def _as_given(images: ImageSet, seed: int, limit: int | None) -> Split:
    kept = _kept(images.labels, limit, images.classes, seed, 2)
    split = _sides(kept, kept >= len(images) - images.validation)
    for part, name in ((split.training, "training"), (split.validation, "validation")):
        counts = np.bincount(images.labels[part], minlength=len(images.classes))
        if not counts.all():
            lacking = images.classes[int(np.argmin(counts))]
            raise SqueezekitError(f"a limit of {limit} keeps no image of class '{lacking}' for {name}: raise the limit")
    return split


def _sides(kept: NDArray[np.int64], validates: NDArray[np.bool_]) -> Split:
    return Split(np.sort(kept[~validates]), np.sort(kept[validates]))


def _fewest_images(share: float) -> int:
    # With this many in a class, both sides get at least one of it; 1e-9 keeps 1 / 0.1 from becoming 11.
    if not share:
        return 1
    return math.ceil(max(1 / share, 1 / (1 - share)) - 1e-9)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _kept(labels: NDArray[np.int64], limit: int | None, classes: Sequence[str], seed: int, minimum: int) -> NDArray[np.int64]:
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    kept = _in_proportion(labels, seed)[: max(limit, 0)]
    counts = np.bincount(labels[kept], minlength=len(classes))
    fewest = int(np.argmin(counts))
    if counts[fewest] < minimum:
        raise SqueezekitError(
            f"a limit of {limit} keeps {_images(counts[fewest])} of class '{classes[fewest]}', and each class needs "
            f"at least {minimum} to be split: raise the limit"
        )
    return kept


def _in_proportion(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    # An order whose every beginning is stratified: the k-th of m in its class stands at (k + 1/2) / m.
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(place, kind="stable")]


def _grouped(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: Sequence[str],
    share: float,
    folds: int,
    fold: int,
    seed: int,
) -> NDArray[np.bool_]:
    """Which images validate where groups stay whole; raises SqueezekitError for a class in too few of them."""
    parts = divided(labels, groups, [1 / folds] * folds if folds else [1 - share, share], seed)
    for label, name in enumerate(classes):
        if len(np.unique(parts[labels == label])) < (folds or 2):
            count = len(np.unique(groups[labels == label]))
            many = "is one group" if count == 1 else f"has {count} groups"
            needed = f"one for each of {folds} folds" if folds else "one to train and one to validate with"
            raise SqueezekitError(
                f"class '{name}' {many} of images that belong together, which cannot be divided into {needed}: add images, "
                "or change --group-by, --folds or --validation-share"
            )
    validates: NDArray[np.bool_] = parts == (fold if folds else 1)
    return validates


def _share_of_a_fold(folds: int, fold: int) -> float:
    if folds < 2 or not 0 <= fold < folds:
        raise SqueezekitError(f"fold {fold} of {folds} is not possible: give two folds or more, and count them from 0")
    return 1 / folds


def _folded(labels: NDArray[np.int64], folds: int, fold: int, seed: int) -> NDArray[np.bool_]:
    from sklearn.model_selection import StratifiedKFold

    parts = StratifiedKFold(folds, shuffle=True, random_state=_generator(seed)).split(labels, labels)
    validates = np.zeros(len(labels), dtype=np.bool_)
    validates[list(parts)[fold][1]] = True
    return validates


def _generator(seed: int) -> np.random.RandomState:
    # Not the seed itself, so that seeds of more than 32 bits work too.
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))


def _stratified(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    # The parts that scikit-learn's train_test_split gives, without the second that importing it takes.
    count, random = math.ceil(share * len(labels) - 1e-9), _generator(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    sizes = np.array([len(each) for each in members])
    training = _apportioned(sizes, len(labels) - count, random)
    validation = _apportioned(sizes - training, count, random)
    validates = np.zeros(len(labels), dtype=np.bool_)
    for each, first, number in zip(members, training, validation, strict=True):
        validates[random.permutation(each)[first : first + number]] = True
    return validates


def _apportioned(sizes: NDArray[np.int64], count: int, random: np.random.RandomState) -> NDArray[np.int64]:
    """How many of each class make `count`: in proportion, rounded down, the largest remainders up, equal ones drawn by lot."""
    exact = sizes / sizes.sum() * count
    found = np.floor(exact)
    remainders = exact - found
    for remainder in np.unique(remainders)[::-1]:
        missing = int(count - found.sum())
        if missing <= 0:
            break
        equal = np.flatnonzero(remainders == remainder)
        found[random.choice(equal, size=min(len(equal), missing), replace=False)] += 1
    counts: NDArray[np.int64] = found.astype(np.int64)
    return counts
