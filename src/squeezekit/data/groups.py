"""What belongs together: groupings joined, and whole groups divided among parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def numbered(names: Sequence[object]) -> NDArray[np.int64]:
    """For each of n names the index of the first equal one, int64 [n]; None is equal to nothing."""
    seen: dict[object, int] = {}
    first = (at if name is None else seen.setdefault(name, at) for at, name in enumerate(names))
    return np.fromiter(first, np.int64, len(names))


def joined(*groupings: ArrayLike) -> NDArray[np.int64]:
    """For each thing the index of the first that belongs with it, directly or through others, by any of the groupings.

    A grouping has a number for each thing, integers [n]; things of one number belong together. Returns int64 [n].
    """
    numbers = [np.unique(np.asarray(grouping), return_inverse=True)[1] for grouping in groupings]
    first = np.arange(len(numbers[0]), dtype=np.int64)
    while True:
        before = first
        for number in numbers:
            least = np.full(len(first), len(first), dtype=np.int64)
            np.minimum.at(least, number, first)
            first = least[number]
        if (first == before).all():
            return first


def divided(labels: NDArray[np.int64], groups: NDArray[np.int64], shares: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Which part each image goes to, int64 [n]: whole groups, every class as near to the `shares` of the parts as they allow.

    The largest group comes first, among equal ones by `seed`; each goes where its classes are filled least with half of it, as in
    Sainte-Laguë's method. `labels` and `groups` are integers [n].
    """
    _, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((group.max(initial=-1) + 1, labels.max(initial=-1) + 1))
    np.add.at(counts, (group, labels), 1)
    wanted = np.outer(shares, np.maximum(counts.sum(0), 1))
    filled = np.zeros_like(wanted)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    part = np.empty(len(counts), dtype=np.int64)
    for number in shuffled[np.argsort(-counts[shuffled].sum(1), kind="stable")]:
        own = counts[number]
        part[number] = np.argmin(((filled + own / 2) / wanted) @ own)
        filled[part[number]] += own
    return part[group]
