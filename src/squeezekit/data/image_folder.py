"""Image folders: `train/<class>/…` with `test/<class>/…`, or `<class>/…` alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.decoded_store import StoreContents, Stored, building, key_of, open_store, recall, remember, writing_store
from squeezekit.data.decoding import decode_files, hash_files
from squeezekit.data.image_file import IMAGE_SUFFIXES, RULE_VERSION, check_shape
from squeezekit.data.image_set import ImageSource, content_fingerprint
from squeezekit.data.splits import chosen_for_test
from squeezekit.system.errors import SqueezekitError

FEWEST_IN_CLASS = 2
PARTS = ("training", "test")


@dataclass(frozen=True)
class _Listing:
    """What a folder holds, one entry an image; `tests` says of each whether it lies under `test/`.

    tests is None for `<class>/…` alone. stamps are (bytes, modification time in ns); paths are relative to `root`.
    """

    root: Path
    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    stamps: list[tuple[int, int]]
    tests: list[bool] | None


@dataclass(frozen=True)
class _Row:
    """One image with its place in the decoded store: training before test, then by class, then by content."""

    is_test: bool
    label: int
    content_hash: bytes
    path: str


def load_folder(folder: Path, *, image_size: int = 32, channels: int = 3, strict: bool = False) -> ImageSource:
    """Every image below `folder`, decoded once (by `read_image`) and cached.

    Two layouts: `train/<class>/…` and `test/<class>/…` with the same classes, or `<class>/…` alone, of which 15 % of
    each class go to test by the hash of their content (`chosen_for_test`), so that no seed ever moves a test image
    into training. A class may have folders of its own inside. Hidden files and folders and files with other suffixes
    are ignored. An image that cannot be read is named on standard error and left out, or with `strict` an error.

    Raises SqueezekitError for fewer than two classes, an empty class, one with too few images, an unreadable folder.
    """
    check_shape(image_size, channels)
    listing = _list(folder)
    key = key_of("folder", RULE_VERSION, image_size, channels, folder.resolve(), listing.paths, listing.stamps)
    stored = recall(key) or _decode(listing, key, image_size, channels)
    _name_unreadable(stored.unreadable, len(listing.paths), strict)
    skipped = tuple(path for path, _ in stored.unreadable)
    return ImageSource(str(folder), stored.training, stored.test, skipped)


def _list(folder: Path) -> _Listing:
    try:
        training, test = folder / "train", folder / "test"
        if training.is_dir() and test.is_dir():
            return _list_parts(folder)
        if _holds_only_folders(training):
            raise SqueezekitError(f"{training} has no {test} beside it: add test/<class>/…, or give {training}")
        return _list_classes(folder)
    except OSError as error:
        raise SqueezekitError(f"{error.filename} cannot be listed ({error.strerror}): check its permissions") from error


def _holds_only_folders(part: Path) -> bool:
    # A folder "train" that holds images itself is a class: railway trains.
    if not part.is_dir():
        return False
    entries = [entry for entry in part.iterdir() if not entry.name.startswith(".")]
    return bool(entries) and all(entry.is_dir() for entry in entries)


def _list_parts(folder: Path) -> _Listing:
    training, test = (_list_classes(folder / part) for part in ("train", "test"))
    for name in sorted(set(training.classes) ^ set(test.classes)):
        holder, lacking = ("train", "test") if name in training.classes else ("test", "train")
        raise SqueezekitError(
            f"class '{name}' stands in {folder / holder} but not in {folder / lacking}: both need the same classes"
        )
    paths = [f"train/{path}" for path in training.paths] + [f"test/{path}" for path in test.paths]
    tests = [False] * len(training.paths) + [True] * len(test.paths)
    return _Listing(folder, training.classes, paths, training.labels + test.labels, training.stamps + test.stamps, tests)


def _list_classes(root: Path) -> _Listing:
    with os.scandir(root) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise SqueezekitError(
            f"{root} holds {len(classes)} class folders, and at least 2 are needed: give a folder with one folder of "
            "pictures for each class"
        )
    listing = _Listing(root, tuple(classes), [], [], [], None)
    for label, name in enumerate(classes):
        images = sorted(_image_files(root / name))
        if not images:
            raise SqueezekitError(
                f"class '{name}' in {root} holds no picture ({', '.join(IMAGE_SUFFIXES)}): add some or remove it"
            )
        below = len(str(root / name)) - len(name)
        listing.paths.extend(path[below:] for path, _ in images)
        listing.stamps.extend(stamp for _, stamp in images)
        listing.labels.extend([label] * len(images))
    return listing


def _characters(classes: Sequence[str]) -> bool:
    """Whether the classes are digits or letters, whose mirror images are other characters or none."""
    return all(len(name) == 1 and name.isalnum() for name in classes)


def _image_files(folder: Path | str) -> Iterator[tuple[str, tuple[int, int]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file():
                status = entry.stat()
                yield entry.path, (status.st_size, status.st_mtime_ns)
            # A link to a folder further up would recurse for ever.
            elif entry.is_dir(follow_symlinks=False):
                yield from _image_files(entry.path)


def _decode(listing: _Listing, key: str, image_size: int, channels: int) -> Stored:
    """Hash every file, decide what is for the test, then decode unless the same content is decoded already."""
    with building(key):
        rows, unopened = _rows(listing)
        content = content_fingerprint(listing.classes, [2 * row.label + row.is_test for row in rows], _hashes(rows))
        store_key = key_of("folder", RULE_VERSION, image_size, channels, content)
        opened = open_store(store_key)
        if opened is None:
            _write(store_key, rows, listing, image_size, channels)
            opened = open_store(store_key)
        if opened is None:
            raise SqueezekitError("the decoded pictures cannot be read back: set SQUEEZEKIT_CACHE to another folder")
        stored, contents = opened
        broken = {bytes.fromhex(content_hash): reason for content_hash, reason in contents.unreadable.items()}
        unreadable = sorted(unopened + [(row.path, broken[row.content_hash]) for row in rows if row.content_hash in broken])
        # A file that could not be opened may be readable next time, with the same size and date.
        if not unopened:
            remember(key, store_key, unreadable)
        return Stored(stored.training, stored.test, tuple(unreadable))


def _rows(listing: _Listing) -> tuple[list[_Row], list[tuple[str, str]]]:
    """The rows of the decoded store in their order, and (path, reason) of the files that cannot even be opened."""
    paths = [os.path.join(listing.root, path) for path in listing.paths]  # noqa: PTH118 (a hundred thousand Paths are slow)
    hashes = hash_files(paths)
    unopened = [(path, reason) for path, reason in zip(paths, hashes, strict=True) if isinstance(reason, str)]
    found = [(at, content_hash) for at, content_hash in enumerate(hashes) if isinstance(content_hash, bytes)]
    labels = [listing.labels[at] for at, _ in found]
    _check_counts(labels, listing)
    if listing.tests is None:
        tests = chosen_for_test(labels, [content_hash for _, content_hash in found]).tolist()
    else:
        tests = [listing.tests[at] for at, _ in found]
    rows = [
        _Row(is_test, label, content_hash, paths[at])
        for is_test, label, (at, content_hash) in zip(tests, labels, found, strict=True)
    ]
    rows.sort(key=lambda row: (row.is_test, row.label, row.content_hash, row.path))
    return rows, unopened


def _check_counts(labels: list[int], listing: _Listing) -> None:
    if listing.tests is not None:
        return
    for name, count in zip(listing.classes, np.bincount(labels, minlength=len(listing.classes)), strict=True):
        if count < FEWEST_IN_CLASS:
            raise SqueezekitError(
                f"class '{name}' in {listing.root} holds too few pictures ({count}) to set some aside for the test: "
                f"it needs at least {FEWEST_IN_CLASS}"
            )


def _write(store_key: str, rows: Sequence[_Row], listing: _Listing, image_size: int, channels: int) -> None:
    with writing_store(store_key, (image_size, image_size, channels)) as writer:
        reasons: list[str | None] = []
        for pixels, block_reasons in decode_files([(row.path, row.content_hash) for row in rows], image_size, channels):
            writer.append(pixels)
            reasons += block_reasons
        kept = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
        _check_kept(kept, listing)
        training, test = ([row for row in kept if row.is_test is is_test] for is_test in (False, True))
        fingerprints = (_fingerprint(listing.classes, training), _fingerprint(listing.classes, test))
        broken = {row.content_hash.hex(): why for row, why in zip(rows, reasons, strict=True) if why is not None}
        writer.finish(
            _labels(kept), StoreContents(listing.classes, not _characters(listing.classes), len(training), fingerprints, broken)
        )


def _check_kept(kept: Sequence[_Row], listing: _Listing) -> None:
    present = {(row.is_test, row.label) for row in kept}
    for is_test in (False, True):
        for label, name in enumerate(listing.classes):
            if (is_test, label) not in present:
                raise SqueezekitError(
                    f"class '{name}' in {listing.root} has no readable picture for its {PARTS[is_test]} part: add some"
                )


def _fingerprint(classes: Sequence[str], rows: Sequence[_Row]) -> str:
    return content_fingerprint(classes, [row.label for row in rows], _hashes(rows))


def _hashes(rows: Sequence[_Row]) -> list[bytes]:
    return [row.content_hash for row in rows]


def _labels(rows: Sequence[_Row]) -> NDArray[np.int64]:
    return np.array([row.label for row in rows], dtype=np.int64)


def _name_unreadable(unreadable: Sequence[tuple[str, str]], total: int, strict: bool) -> None:
    if not unreadable:
        return
    if strict:
        path, reason = unreadable[0]
        raise SqueezekitError(
            f"{len(unreadable)} of {total} pictures cannot be read, the first being {path} ({reason}): replace or "
            "remove them, or leave out --strict to skip them"
        )
    for path, reason in unreadable:
        print(f"{path} cannot be read as a picture ({reason}): skipped", file=sys.stderr)
    print(f"{len(unreadable)} of {total} pictures could not be read and were skipped", file=sys.stderr)
