"""What every source of images becomes: uint8 pixels, integer labels, and the name of each class."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squeezekit.data.groups import joined

# Bytes of an image that are compared before all of them.
COMPARED_FIRST = 64


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one size.

    images: uint8 [n, height, width, channels], an array or a read-only memory map.
    labels: int64 [n], each an index into `classes`.
    fingerprint: hex SHA-256 of the content in its order (see `content_fingerprint`); it names no path of this machine.
    mirrorable: whether an image still belongs to its class when left and right are swapped.
    validation: so many of the last images are those that the source itself keeps for validation.
    near_copies, groups: a number for each image, int64 [n], in training and test part of a source alike: equal ones are
    near-copies of each other, or belong together since somebody says so. None: there are no such.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str
    mirrorable: bool
    validation: int = 0
    near_copies: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together (ValueError: a mistake of the caller, not of a user)."""
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 [n, h, w, c], not {self.images.dtype} {list(self.images.shape)}")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise ValueError(f"labels must be int64 [{len(self.images)}], not {self.labels.dtype} {self.labels.shape}")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Height and width in pixels (images are square)."""
        return int(self.images.shape[1])

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (red, green, blue)."""
        return int(self.images.shape[3])

    @cached_property
    def first_copies(self) -> NDArray[np.int64]:
        """For each image the index of the first one that has the same pixels, int64 [n]."""
        return first_copies(self.images)

    @cached_property
    def first_alike(self) -> NDArray[np.int64]:
        """For each image the index of the first one that is a copy or near-copy of it, int64 [n]."""
        return self.first_copies if self.near_copies is None else joined(self.first_copies, self.near_copies)

    @cached_property
    def first_together(self) -> NDArray[np.int64]:
        """For each image the index of the first one that must be on its side of every split, int64 [n]."""
        return self.first_alike if self.groups is None else joined(self.first_alike, self.groups)

    def subset(self, indices: ArrayLike) -> ImageSet:
        """The images at `indices` (integers [m]), copied into memory, as a set with its own fingerprint."""
        chosen = np.asarray(indices, dtype=np.int64)
        digest = hashlib.sha256(self.fingerprint.encode() + chosen.tobytes())
        return ImageSet(
            np.ascontiguousarray(self.images[chosen]),
            self.labels[chosen],
            self.classes,
            digest.hexdigest(),
            self.mirrorable,
            near_copies=None if self.near_copies is None else self.near_copies[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )


@dataclass(frozen=True, eq=False)
class ImageSource:
    """A data set as it was loaded: `test` for the final test, `training` for everything else (validation included).

    unreadable: paths of the images that were skipped. notes: what a person may not expect of the parts, and what was left out.
    """

    name: str
    training: ImageSet
    test: ImageSet
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def everything(self) -> ImageSet:
        """Training and test pictures as one set, copied."""
        one, other = self.training, self.test
        images, labels = np.concatenate([one.images, other.images]), np.concatenate([one.labels, other.labels])
        digest = hashlib.sha256(f"{one.fingerprint} {other.fingerprint}".encode()).hexdigest()
        near, groups = (
            None if first is None or last is None else np.concatenate([first, last])
            for first, last in ((one.near_copies, other.near_copies), (one.groups, other.groups))
        )
        return ImageSet(images, labels, one.classes, digest, one.mirrorable and other.mirrorable, near_copies=near, groups=groups)


def first_copies(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For each image, uint8 [n, h, w, c], the index of the first one that has the same pixels: int64 [n]."""
    first = np.arange(len(images), dtype=np.int64)
    for indices in _alike(images).values():
        seen: dict[bytes, int] = {}
        for index in indices if len(indices) > 1 else ():
            first[index] = seen.setdefault(hashlib.sha256(images[index].tobytes()).digest(), index)
    return first


def copies_in(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of the images, uint8 [n, h, w, c], have the pixels of one of the `others`: bool [n]."""
    known, found = _alike(others), np.zeros(len(images), dtype=np.bool_)
    for some, indices in _alike(images).items():
        pixels = {others[index].tobytes() for index in known.get(some, ())}
        found[indices] = [images[index].tobytes() in pixels for index in indices]
    return found


def _alike(images: NDArray[np.uint8]) -> dict[bytes, list[int]]:
    """The indices of images that agree in a few pixels, which tell most images apart, so that few are read whole."""
    rows = images.reshape(len(images), math.prod(images.shape[1:]))
    some = np.ascontiguousarray(rows[:, :: max(rows.shape[1] // COMPARED_FIRST, 1)])
    alike: dict[bytes, list[int]] = {}
    for index, row in enumerate(some):
        alike.setdefault(row.tobytes(), []).append(index)
    return alike


def content_fingerprint(classes: Sequence[str], labels: Iterable[int], hashes: Iterable[bytes]) -> str:
    """Hex SHA-256 over the class names, then each image's label and the SHA-256 of its content, in order.

    The content is the file or the pixels as they came, so that the same images at another size have the same one.
    """
    digest = hashlib.sha256()
    for name in classes:
        digest.update(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    for label, content_hash in zip(labels, hashes, strict=True):
        digest.update(int(label).to_bytes(8, "little") + content_hash)
    return digest.hexdigest()
