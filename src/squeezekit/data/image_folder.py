"""Image folders: parts such as `train/<class>/…` and `test/<class>/…`, or `<class>/…` alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.class_names import characters, class_name, mirrored_pair
from squeezekit.data.decoded_store import StoreContents, Stored, building, key_of, opened_or_made, recall, remember, writing_store
from squeezekit.data.decoding import decode_files, hash_files
from squeezekit.data.folder_layout import FolderLayout, Part, find_layout, holds_runs
from squeezekit.data.image_file import IMAGE_SUFFIXES, MOST_PIXELS, RULE_VERSION, check_shape
from squeezekit.data.image_set import ImageSource, content_fingerprint, copies_in
from squeezekit.data.picture_files import LeftOut, PictureFiles, is_run, lines_about, list_pictures, passed_over
from squeezekit.data.splits import chosen_for_test
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError

FEWEST_IN_CLASS = 2


class _Rule(NamedTuple):
    """What decides which pixels a file becomes."""

    image_size: int
    channels: int
    max_pixels: int


@dataclass(frozen=True)
class _Listing:
    """What a folder holds, one entry an image; `parts` says of each what it is for.

    parts is None for `<class>/…` alone. stamps are what tells a file from another one without reading it; paths are relative to
    `root`. notes: what was found and left out, in words.
    """

    root: Path
    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    stamps: list[tuple[int, ...]]
    parts: list[Part] | None
    left_out: list[LeftOut]
    others: tuple[str, ...] = ()

    @property
    def tested(self) -> bool:
        """Whether the folder has a test part of its own, readable or not."""
        return self.parts is not None and Part.TEST in self.parts


@dataclass(frozen=True, order=True)
class _Row:
    """One image with its place in the decoded store: by part, then by class, then by content."""

    part: Part
    label: int
    content_hash: bytes
    path: str


def load_folder(
    folder: Path, *, image_size: int = 32, channels: int = 3, strict: bool = False, max_pixels: int = MOST_PIXELS
) -> ImageSource:
    """Every image below `folder`, decoded once (by `read_image`) and cached.

    Two layouts: parts with the same classes, `train/<class>/…` with `val/<class>/…`, `test/<class>/…` or both, in the usual
    spellings (`find_layout`); or `<class>/…` alone. Without a test part, 15 % of each class go to test by the hash of their
    content (`chosen_for_test`), so that no seed ever moves a test image into training, and identical images are never on both
    sides. A class may have folders of its own inside. Hidden and system files and folders and run folders are passed over. What
    looks like a picture and cannot be used, also for having more than `max_pixels`, is named on standard error and left out, or
    with `strict` an error.

    Raises SqueezekitError for fewer than two classes, an empty class, one with too few images, an unreadable folder, and images
    that are all the same.
    """
    check_shape(image_size, channels)
    listing = _list(folder)
    rule = _Rule(image_size, channels, max_pixels)
    key = key_of("folder", RULE_VERSION, rule, folder.resolve(), listing.paths, listing.stamps, listing.parts)
    stored = recall(key) or _decode(listing, key, rule)
    _name_left_out(listing, stored.unreadable, strict)
    skipped = (*(path for path, _ in stored.unreadable), *(path for path, _ in listing.left_out))
    return ImageSource(str(folder), stored.training, stored.test, skipped, _found(listing, len(skipped)))


def _found(listing: _Listing, left_out: int) -> tuple[str, ...]:
    """What a user may not expect about the parts and what was left out."""
    notes = [] if listing.tested else ["15 % of each class are set aside for the test, by their content"]
    if listing.others:
        notes.append(f"left out, since they are no part of it: {', '.join(listing.others)}")
    if left_out:
        notes.append(f"{left_out} files and folders left out")
    return tuple(notes)


def _list(folder: Path) -> _Listing:
    try:
        layout = find_layout(folder)
        return _list_parts(folder, layout) if layout.parts else _list_classes(folder, folder)
    except OSError as error:
        raise SqueezekitError(f"{error.filename} cannot be listed ({error.strerror}): check its permissions") from error


def _list_parts(folder: Path, layout: FolderLayout) -> _Listing:
    listings = {part: _list_classes(place, folder) for part, place in sorted(layout.parts.items())}
    training = listings[Part.TRAINING]
    for part, listing in listings.items():
        for name in sorted(set(training.classes) ^ set(listing.classes)):
            holder, lacking = (Part.TRAINING, part) if name in training.classes else (part, Part.TRAINING)
            raise SqueezekitError(
                f"class '{name}' stands in {layout.parts[holder]} but not in {layout.parts[lacking]}: both need the same classes"
            )
    joined = _Listing(folder, training.classes, [], [], [], parts := [], [], layout.others)
    for part, listing in listings.items():
        joined.paths.extend(listing.paths)
        joined.labels.extend(listing.labels)
        joined.stamps.extend(listing.stamps)
        joined.left_out.extend(listing.left_out)
        parts.extend([part] * len(listing.paths))
    return joined


def _list_classes(root: Path, folder: Path) -> _Listing:
    """The classes of a part, in the order of their names; paths are relative to `folder`."""
    left_out: list[LeftOut] = []
    found: dict[str, PictureFiles] = {}
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if passed_over(entry.name) or is_run(entry.path):
            continue
        if entry.is_dir():
            pictures = list_pictures(entry.path, within=folder)
            # A folder that holds nothing but runs is none of the data.
            if pictures.files or not holds_runs(entry.path):
                _add_class(found, class_name(entry.name), pictures, root)
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            left_out.append(LeftOut(entry.path, "it lies in no class folder"))
    if len(found) < 2:
        number = "1 class folder" if found else "no class folders"
        perhaps = f", perhaps {root / next(iter(found))}" if found else ""
        raise SqueezekitError(
            f"{root} holds {number}, and at least 2 are needed: give a folder with one folder of pictures for each class{perhaps}"
        )
    listing = _Listing(folder, tuple(sorted(found)), [], [], [], None, left_out)
    below = len(os.path.join(folder, ""))  # noqa: PTH118
    for label, name in enumerate(listing.classes):
        listing.paths.extend(file.path[below:] for file in found[name].files)
        listing.stamps.extend(file[1:] for file in found[name].files)
        listing.labels.extend([label] * len(found[name].files))
        listing.left_out.extend(found[name].left_out)
    return listing


def _add_class(found: dict[str, PictureFiles], name: str, pictures: PictureFiles, root: Path) -> None:
    if name in found:
        raise SqueezekitError(f"two folders in {root} are called '{name}', in two Unicode forms: make them one")
    if not pictures.files:
        others = f"; {lines_about(pictures.left_out)[0]}" if pictures.left_out else ""
        raise SqueezekitError(
            f"class '{name}' in {root} holds no picture ({', '.join(IMAGE_SUFFIXES)}){others}: add some or remove it"
        )
    found[name] = pictures


def _decode(listing: _Listing, key: str, rule: _Rule) -> Stored:
    """Hash every file, decide what is for the test, then decode unless the same content is decoded already."""
    with building(key):
        rows, unopened = _rows(listing)
        store_key, stored, contents = _stored(rows, listing, rule)
        if not listing.tested:
            # A picture may be there as PNG and as BMP.
            copies = copies_in(stored.training.images, stored.test.images)
            if copies.any() and not copies.all():
                rows = _with_tests(rows, contents, copies)
                store_key, stored, contents = _stored(rows, listing, rule)
        broken = {bytes.fromhex(content_hash): reason for content_hash, reason in contents.unreadable.items()}
        unreadable = sorted(unopened + [(row.path, broken[row.content_hash]) for row in rows if row.content_hash in broken])
        # A file that could not be opened may be readable next time, with the same size and date.
        if not unopened:
            remember(key, store_key, unreadable)
        return Stored(stored.training, stored.test, tuple(unreadable))


def _stored(rows: Sequence[_Row], listing: _Listing, rule: _Rule) -> tuple[str, Stored, StoreContents]:
    """The decoded store of these rows, with its key; decoded now unless it is there."""
    content = content_fingerprint(listing.classes, [len(Part) * row.label + row.part for row in rows], _hashes(rows))
    store_key = key_of("folder", RULE_VERSION, rule, content)
    return store_key, *opened_or_made(store_key, lambda: _write(store_key, rows, listing, rule))


def _with_tests(rows: Sequence[_Row], contents: StoreContents, to_test: NDArray[np.bool_]) -> list[_Row]:
    """The rows with some of the training images, bool [n], among those for the test."""
    kept = [row for row in rows if row.content_hash.hex() not in contents.unreadable]
    moved = {row.path for row, moves in zip(kept, to_test, strict=False) if moves}
    return sorted(replace(row, part=Part.TEST) if row.path in moved else row for row in rows)


def _rows(listing: _Listing) -> tuple[list[_Row], list[tuple[str, str]]]:
    """The rows of the decoded store in their order, and (path, reason) of the files that cannot even be opened."""
    paths = [os.path.join(listing.root, path) for path in listing.paths]  # noqa: PTH118 (a hundred thousand Paths are slow)
    hashes = hash_files(paths)
    unopened = [(path, reason) for path, reason in zip(paths, hashes, strict=True) if isinstance(reason, str)]
    found = [(at, content_hash) for at, content_hash in enumerate(hashes) if isinstance(content_hash, bytes)]
    labels = [listing.labels[at] for at, _ in found]
    _check_counts(labels, listing)
    parts = [listing.parts[at] if listing.parts else Part.TRAINING for at, _ in found]
    if not listing.tested:
        parts = _with_test_part(parts, labels, [content_hash for _, content_hash in found])
    rows = [
        _Row(part, label, content_hash, paths[at]) for part, label, (at, content_hash) in zip(parts, labels, found, strict=True)
    ]
    return sorted(rows), unopened


def _with_test_part(parts: Sequence[Part], labels: Sequence[int], hashes: Sequence[bytes]) -> list[Part]:
    """The parts with some of the training images, and their copies, moved to a test part."""
    training = [at for at, part in enumerate(parts) if part == Part.TRAINING]
    chosen = chosen_for_test([labels[at] for at in training], [hashes[at] for at in training])
    tests = {hashes[at] for at, is_test in zip(training, chosen, strict=True) if is_test}
    return [Part.TEST if each in tests else part for each, part in zip(hashes, parts, strict=True)]


def _check_counts(labels: list[int], listing: _Listing) -> None:
    if listing.parts is not None:
        return
    for name, count in zip(listing.classes, np.bincount(labels, minlength=len(listing.classes)), strict=True):
        if count < FEWEST_IN_CLASS:
            raise SqueezekitError(
                f"class '{name}' in {listing.root} holds too few pictures ({count}) to set some aside for the test: "
                f"it needs at least {FEWEST_IN_CLASS}"
            )


def _write(store_key: str, rows: Sequence[_Row], listing: _Listing, rule: _Rule) -> None:
    with writing_store(store_key, (rule.image_size, rule.image_size, rule.channels)) as writer:
        reasons: list[str | None] = []
        for pixels, block_reasons in decode_files([(row.path, row.content_hash) for row in rows], *rule):
            writer.append(pixels)
            reasons += block_reasons
        kept = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
        _check_kept(kept, listing)
        training, test = ([row for row in kept if (row.part is Part.TEST) is tested] for tested in (False, True))
        fingerprints = (_fingerprint(listing.classes, training), _fingerprint(listing.classes, test))
        broken = {row.content_hash.hex(): why for row, why in zip(rows, reasons, strict=True) if why is not None}
        mirrorable = not characters(listing.classes) and mirrored_pair(listing.classes) is None
        validation = sum(row.part is Part.VALIDATION for row in kept)
        contents = StoreContents(listing.classes, mirrorable, len(training), fingerprints, broken, validation)
        writer.finish(_labels(kept), contents)


def _check_kept(kept: Sequence[_Row], listing: _Listing) -> None:
    present = {(row.part, row.label) for row in kept}
    for part in {Part.TRAINING, Part.TEST, *(listing.parts or ())}:
        for label, name in enumerate(listing.classes):
            if (part, label) not in present:
                raise SqueezekitError(
                    f"class '{name}' in {listing.root} has no readable picture for its {part.name.lower()} part "
                    "(copies stay together): add some"
                )


def _fingerprint(classes: Sequence[str], rows: Sequence[_Row]) -> str:
    # Which images validate matters as much as which there are.
    validates = len(classes) if any(row.part is Part.VALIDATION for row in rows) else 0
    return content_fingerprint(classes, [row.label + validates * (row.part is Part.VALIDATION) for row in rows], _hashes(rows))


def _hashes(rows: Sequence[_Row]) -> list[bytes]:
    return [row.content_hash for row in rows]


def _labels(rows: Sequence[_Row]) -> NDArray[np.int64]:
    return np.array([row.label for row in rows], dtype=np.int64)


def _name_left_out(listing: _Listing, unreadable: Sequence[tuple[str, str]], strict: bool) -> None:
    count, total = len(unreadable) + len(listing.left_out), len(listing.paths) + len(listing.left_out)
    if not count:
        return
    if strict:
        path, reason = [*unreadable, *listing.left_out][0]
        raise SqueezekitError(
            f"{count} of {total} pictures cannot be used, the first being {path} ({reason}): replace or "
            "remove them, or leave out --strict to skip them"
        )
    for path, reason in unreadable:
        say(f"{path} cannot be read as a picture ({reason}): skipped")
    for line in lines_about(listing.left_out):
        say(line)
    say(f"{count} of {total} pictures could not be used and were skipped")
