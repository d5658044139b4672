"""The decoded store: images are decoded once and memory-mapped from then on.

Two folders under the cache. `decoded/KEY/` holds the pixels (`images.npy`), the labels (`labels.npy`), what they mean, with
digests of both (`about.json`), and when they were last found whole (`checked.json`); KEY names the content, so that a moved or
touched folder is not decoded again. `listings/` maps the paths, sizes and times of a source to such a key, so that a second start
reads no image at all. Nothing in the cache is trusted: what is damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs
from numpy.lib import format as npy
from numpy.typing import NDArray

from squeezekit.data.image_set import ImageSet
from squeezekit.system import atomic_io
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.file_lock import one_at_a_time
from squeezekit.system.outside_files import read_outside_json
from squeezekit.system.paths import expanded

# A running process writes many times a second: older ones were killed.
ABANDONED_SECONDS = 3600
ARRAYS = ("images.npy", "labels.npy")


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

    def grouped(self, near_copies: Sequence[int] | None, groups: Sequence[int] | None) -> Stored:
        """The same with what belongs together: a number for each row, training first; raises ValueError for another number."""
        cut, rows = len(self.training), len(self.training) + len(self.test)
        numbers = [None if given is None else np.array(given, np.int64) for given in (near_copies, groups)]
        if any(each is not None and each.shape != (rows,) for each in numbers):
            raise ValueError("not one number a row")
        first, last = ([each if each is None else each[part] for each in numbers] for part in (slice(cut), slice(cut, None)))
        return replace(
            self,
            training=replace(self.training, near_copies=first[0], groups=first[1]),
            test=replace(self.test, near_copies=last[0], groups=last[1]),
        )


def cache_folder() -> Path:
    """Where decoded images and downloads are kept: SQUEEZEKIT_CACHE, or else the user's cache folder.

    Raises SqueezekitError for a user without a home.
    """
    if given := os.environ.get("SQUEEZEKIT_CACHE"):
        return expanded(given)
    try:
        folder = expanded(platformdirs.user_cache_dir("squeezekit"))
    except RuntimeError:
        # Newer versions of platformdirs; older ones give the path as it would be written.
        folder = Path("~")
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
    known = recall_facts(listing) or {}
    try:
        key, unreadable = known["store"], tuple((path, reason) for path, reason in known["unreadable"])
        stored = open_store(key)
        return stored and replace(stored[0], unreadable=unreadable).grouped(known["near_copies"], known["groups"])
    except (KeyError, TypeError, ValueError):
        return None


def remember(
    listing: str,
    key: str,
    unreadable: Iterable[tuple[str, str]],
    near_copies: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
) -> None:
    """Record that a source with that listing is decoded under `key`, which files were left out, and what belongs together.

    Where that cannot be written, the next start reads the files once more to find their store.
    """
    remember_facts(listing, {"store": key, "unreadable": list(unreadable), "near_copies": near_copies, "groups": groups})


def recall_facts(key: str) -> dict[str, Any] | None:
    """What was remembered under that key; None when it is unknown or damaged."""
    try:
        return _read_sealed(cache_folder() / "listings" / f"{key}.json", key)
    except (SqueezekitError, TypeError, ValueError):
        return None


def remember_facts(key: str, fields: dict[str, Any]) -> None:
    """Keep these fields, of which JSON can be made, for `recall_facts`; nothing happens where that cannot be written."""
    with suppress(OSError):
        folder = cache_folder() / "listings"
        folder.mkdir(parents=True, exist_ok=True)
        _write_sealed(folder / f"{key}.json", key, fields)


def open_store(key: str) -> tuple[Stored, StoreContents] | None:
    """Memory-map a store; None when it is absent or another user's alone, or damaged, which is said."""
    folder = cache_folder() / "decoded" / key
    try:
        fields = _read_sealed(folder / "about.json", key)
        digests = fields.pop("digests")
        contents = StoreContents(tuple(fields.pop("classes")), fingerprints=tuple(fields.pop("fingerprints")), **fields)
        _check_arrays(folder, digests)
        images, labels = (np.load(folder / name, mmap_mode="r") for name in ARRAYS)
        return _parts(images, np.array(labels), contents), contents
    # EOFError and the like from a file cut short, KeyError and TypeError from JSON of another shape.
    except (SqueezekitError, OSError, ValueError, EOFError, KeyError, TypeError, AttributeError):
        if os.access(folder, os.R_OK | os.X_OK):
            _say_damaged(folder)
        return None


def opened_or_made(key: str, make: Callable[[], None]) -> tuple[Stored, StoreContents]:
    """The store of that key, which `make` writes where there is none that is whole: one process at a time.

    Two sources may hold the same content, and be read at the same time. Raises SqueezekitError where it cannot be read back.
    """
    with building(key):
        if (opened := open_store(key)) is None:
            make()
            opened = open_store(key)
    if opened is None:
        raise SqueezekitError("the decoded pictures cannot be read back: set SQUEEZEKIT_CACHE to another folder")
    return opened


@cache
def _say_damaged(folder: Path) -> None:
    """Once a process: whoever opens the store next may be the one who makes it again."""
    say(f"the decoded pictures in {folder} are damaged or of an older version: they are made again")


def _write_sealed(path: Path, name: str, fields: dict[str, Any]) -> None:
    """A JSON file that says by a digest that it is whole, and that it is the one of that name."""
    atomic_io.write_text(path, json.dumps({**fields, "digest": key_of(name, json.dumps(fields))}))


def _read_sealed(path: Path, name: str) -> dict[str, Any]:
    """What `_write_sealed` has written; raises SqueezekitError or ValueError for whatever else the file holds."""
    fields = read_outside_json(path)
    if not isinstance(fields, dict) or fields.pop("digest", None) != key_of(name, json.dumps(fields)):
        raise ValueError("not whole")
    return fields


def _check_arrays(folder: Path, digests: dict[str, str]) -> None:
    """Raise unless both arrays are as they were written.

    All of them is read only where a file was touched since it was last found whole: every way of changing a file changes that
    time, and hashing takes a second for 1.4 GB.
    """
    stamps = [_stamp(folder / name) for name in ARRAYS]
    if _checked(folder) == stamps:
        return
    for name in ARRAYS:
        if _digest(folder / name) != digests[name]:
            raise ValueError("not whole")
    _remember_checked(folder, stamps)


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a file")
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _checked(folder: Path) -> object:
    try:
        return read_outside_json(folder / "checked.json")
    except SqueezekitError:
        return None


def _remember_checked(folder: Path, stamps: list[list[int]]) -> None:
    # Who may only read the cache checks it each time.
    with suppress(OSError):
        atomic_io.write_text(folder / "checked.json", json.dumps(stamps))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

    def __init__(self, key: str, folder: Path, images: BinaryIO, image_shape: tuple[int, int, int]) -> None:
        self._key, self._folder, self._images, self._shape, self._count = key, folder, images, image_shape, 0
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
        self._images.flush()
        digests = {name: _digest(self._folder / name) for name in ARRAYS}
        _write_sealed(self._folder / "about.json", self._key, {**asdict(contents), "digests": digests})
        _remember_checked(self._folder, [_stamp(self._folder / name) for name in ARRAYS])

    def _write_header(self) -> None:
        # numpy pads the header for any number of rows, so that writing the final number over it fits.
        shape = (self._count, *self._shape)
        npy.write_array_header_1_0(self._images, {"descr": "|u1", "fortran_order": False, "shape": shape})


@contextmanager
def writing_store(key: str, image_shape: tuple[int, int, int]) -> Iterator[StoreWriter]:
    """Write a store beside its place and rename it when the block ends; a kill leaves the cache as it was."""
    with writable("decoded") as decoded:
        _remove_abandoned(decoded)
        # Not of tempfile, whose folders nobody else may read: others may share this cache.
        aside = decoded / f".{key[:16]}.{secrets.token_hex(8)}.partial"
        try:
            aside.mkdir()
            with (aside / "images.npy").open("wb") as images:
                yield StoreWriter(key, aside, images, image_shape)
                _flush(images)
            _remove(decoded / key)
            aside.rename(decoded / key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def building(key: str) -> Iterator[None]:
    """Wait while another process builds the same thing: its result can then be opened instead.

    Nobody waits where no lock can be made: who only reads a finished store needs none, and work is done twice at worst.
    """
    with ExitStack() as held:
        with suppress(OSError):
            folder = cache_folder() / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(one_at_a_time(folder / key))
        yield


def _remove(path: Path) -> None:
    """Whatever stands in the place of a store; what cannot be removed shows when that place is taken."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _remove_abandoned(decoded: Path) -> None:
    oldest = time.time() - ABANDONED_SECONDS
    for aside in decoded.glob(".*.partial"):
        images = aside / "images.npy"
        # Another process may sweep at the same time.
        with suppress(FileNotFoundError):
            if (images if images.exists() else aside).stat().st_mtime < oldest:
                shutil.rmtree(aside, ignore_errors=True)
