"""The decoded store: images are decoded once and memory-mapped from then on.

Two folders under the cache. `decoded/KEY/` holds the pixels (`images.npy`), the labels (`labels.npy`) and what they
mean (`about.json`); KEY names the content, so that a moved or touched folder is not decoded again. `listings/` maps
the paths, sizes and times of a source to such a key, so that a second start reads no image at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import platformdirs
from numpy.lib import format as npy
from numpy.typing import NDArray

from squeezekit.data.image_set import ImageSet
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.file_lock import one_at_a_time
from squeezekit.system.paths import expanded

# A running process writes many times a second: older ones were killed.
ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class StoreContents:
    """The meaning of the arrays of a store: the first `training` rows are for training, the rest for the final test.

    fingerprints: of the training and the test part. unreadable: hex SHA-256 of each file that is not an image, with the reason.
    validation: so many of the last training rows are the source's own validation part.
    """

    classes: tuple[str, ...]
    mirrorable: bool
    training: int
    fingerprints: tuple[str, str]
    unreadable: dict[str, str]
    validation: int = 0


@dataclass(frozen=True)
class Stored:
    """The two parts of a decoded source, memory-mapped read-only, and the files left out (path, reason)."""

    training: ImageSet
    test: ImageSet
    unreadable: tuple[tuple[str, str], ...] = ()


def cache_folder() -> Path:
    """Where decoded images and downloads are kept: SQUEEZEKIT_CACHE, or else the user's cache folder.

    Raises SqueezekitError for a user without a home.
    """
    if given := os.environ.get("SQUEEZEKIT_CACHE"):
        return expanded(given)
    folder = expanded(platformdirs.user_cache_dir("squeezekit"))
    if folder.parts[0] == "~":
        raise SqueezekitError(
            "this user has no home folder, where decoded pictures would be kept: set the environment variable "
            "SQUEEZEKIT_CACHE to a folder"
        )
    return folder


@contextmanager
def writable(*parts: str) -> Iterator[Path]:
    """The folder `parts` under the cache, made if need be; raises SqueezekitError for whatever cannot be written there."""
    folder = cache_folder().joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise SqueezekitError(
            f"the cache folder {folder} cannot be written ({error.strerror or error}): free space there, or set the "
            "environment variable SQUEEZEKIT_CACHE to another folder"
        ) from error


def key_of(*parts: object) -> str:
    """A file name for these parts: hex SHA-256 of their texts, each with its length before it."""
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode("utf-8", "surrogateescape")
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()


def recall(listing: str) -> Stored | None:
    """The decoded source of that listing; None when it is unknown, gone or damaged."""
    try:
        known = json.loads((cache_folder() / "listings" / f"{listing}.json").read_text(encoding="utf-8"))
        key, unreadable = known["store"], tuple((path, reason) for path, reason in known["unreadable"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    stored = open_store(key)
    return stored and Stored(stored[0].training, stored[0].test, unreadable)


def remember(listing: str, key: str, unreadable: Iterable[tuple[str, str]]) -> None:
    """Record that a source with that listing is decoded under `key`, and which of its files were left out."""
    with writable("listings") as folder:
        known = {"store": key, "unreadable": list(unreadable)}
        atomic_io.write_text(folder / f"{listing}.json", json.dumps(known))


def open_store(key: str) -> tuple[Stored, StoreContents] | None:
    """Memory-map a store; None when it is absent or damaged (numpy refuses a file that is shorter than it declares)."""
    folder = cache_folder() / "decoded" / key
    try:
        fields = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        contents = StoreContents(tuple(fields.pop("classes")), fingerprints=tuple(fields.pop("fingerprints")), **fields)
        images = np.load(folder / "images.npy", mmap_mode="r")
        labels = np.load(folder / "labels.npy")
        if labels.max() >= len(contents.classes):
            return None
        return _parts(images, labels, contents), contents
    # EOFError and the like from a file cut short, KeyError and TypeError from JSON of another shape.
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError):
        return None


def _parts(images: NDArray[np.uint8], labels: NDArray[np.int64], contents: StoreContents) -> Stored:
    cut = contents.training
    return Stored(
        ImageSet(
            images[:cut], labels[:cut], contents.classes, contents.fingerprints[0], contents.mirrorable, contents.validation
        ),
        ImageSet(images[cut:], labels[cut:], contents.classes, contents.fingerprints[1], contents.mirrorable),
    )


class StoreWriter:
    """A store while it is written, block by block, so that it need not fit into memory."""

    def __init__(self, folder: Path, images: BinaryIO, image_shape: tuple[int, int, int]) -> None:
        self._folder, self._images, self._shape, self._count = folder, images, image_shape, 0
        self._write_header()

    def append(self, block: NDArray[np.uint8]) -> None:
        """Add images, uint8 [n, h, w, c]."""
        self._images.write(np.ascontiguousarray(block).data)
        self._count += len(block)

    def finish(self, labels: NDArray[np.int64], contents: StoreContents) -> None:
        """Write the labels and the meaning; without this call nothing is kept."""
        self._images.seek(0)
        self._write_header()
        with (self._folder / "labels.npy").open("wb") as file:
            np.save(file, labels)
            _flush(file)
        with (self._folder / "about.json").open("wb") as file:
            file.write(json.dumps(asdict(contents)).encode())
            _flush(file)

    def _write_header(self) -> None:
        # numpy pads the header for any number of rows, so that writing the final number over it fits.
        shape = (self._count, *self._shape)
        npy.write_array_header_1_0(self._images, {"descr": "|u1", "fortran_order": False, "shape": shape})


@contextmanager
def writing_store(key: str, image_shape: tuple[int, int, int]) -> Iterator[StoreWriter]:
    """Write a store beside its place and rename it when the block ends; a kill leaves the cache as it was."""
    with writable("decoded") as decoded:
        _remove_abandoned(decoded)
        aside = Path(tempfile.mkdtemp(prefix=f".{key[:16]}.", suffix=".partial", dir=decoded))
        try:
            with (aside / "images.npy").open("wb") as images:
                yield StoreWriter(aside, images, image_shape)
                _flush(images)
            shutil.rmtree(decoded / key, ignore_errors=True)
            aside.rename(decoded / key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def building(key: str) -> Iterator[None]:
    """Wait while another process builds the same thing: its result can then be opened instead."""
    with writable("locks") as folder, one_at_a_time(folder / key):
        yield


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _remove_abandoned(decoded: Path) -> None:
    oldest = time.time() - ABANDONED_SECONDS
    for aside in decoded.glob(".*.partial"):
        images = aside / "images.npy"
        if (images if images.exists() else aside).stat().st_mtime < oldest:
            shutil.rmtree(aside, ignore_errors=True)
