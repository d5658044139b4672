"""Image folders: parts such as `train/<class>/…` and `test/<class>/…`, or `<class>/…` alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.class_names import characters, mirrored_pair
from squeezekit.data.curation import Curation
from squeezekit.data.decoded_store import StoreContents, Stored, building, key_of, opened_or_made, recall, remember, writing_store
from squeezekit.data.decoding import decode_files, hash_files
from squeezekit.data.folder_layout import Part
from squeezekit.data.folder_listing import FolderListing, list_folder
from squeezekit.data.groups import joined, numbered
from squeezekit.data.image_file import MOST_PIXELS, RULE_VERSION, check_shape
from squeezekit.data.image_set import ImageSource, content_fingerprint, copies_in
from squeezekit.data.near_copies import RULE_VERSION as NEAR_VERSION
from squeezekit.data.near_copies import near_copies_of_files
from squeezekit.data.picture_files import lines_about
from squeezekit.data.splits import chosen_for_test
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError

FEWEST_IN_CLASS = 2


class _Rule(NamedTuple):
    """What decides which pixels a file becomes."""

    image_size: int
    channels: int
    max_pixels: int


@dataclass(frozen=True, order=True)
class _Row:
    """One image with its place in the decoded store: by part, then by class, then by content.

    Rows of one number are near-copies of each other (`near`), or must be on one side (`group`).
    """

    part: Part
    label: int
    content_hash: bytes
    path: str
    near: int
    group: int


def load_folder(
    folder: Path,
    *,
    image_size: int = 32,
    channels: int = 3,
    strict: bool = False,
    max_pixels: int = MOST_PIXELS,
    curation: Curation | None = None,
) -> ImageSource:
    """Every image below `folder`, decoded once (by `read_image`) and cached.

    Two layouts: parts with the same classes, `train/<class>/…` with `val/<class>/…`, `test/<class>/…` or both, in the usual
    spellings (`find_layout`); or `<class>/…` alone. `curation` may also name a file that says which pictures there are, of which
    class and part, and a list of those to leave out. Without a test part, 15 % of each class go to test by the hash of their
    content (`chosen_for_test`), so that no seed ever moves a test image into training. Copies, near-copies and what belongs
    together by `curation` are never on both sides of it. A class may have folders of its own inside. Hidden and system files and
    folders and run folders are passed over. What looks like a picture and cannot be used, also for having more than `max_pixels`,
    is named on standard error and left out, or with `strict` an error.

    Raises SqueezekitError for fewer than two classes, an empty class, one with too few images, an unreadable folder, and images
    that are all the same.
    """
    check_shape(image_size, channels)
    listing = list_folder(folder, curation)
    rule = _Rule(image_size, channels, max_pixels)
    told = (listing.classes, listing.labels, listing.parts, listing.groups)
    key = key_of("folder", RULE_VERSION, NEAR_VERSION, rule, folder.resolve(), listing.paths, listing.stamps, *told)
    stored = recall(key) or _decode(listing, key, rule)
    _name_left_out(listing, stored.unreadable, strict)
    skipped = (*(path for path, _ in stored.unreadable), *(path for path, _ in listing.left_out))
    return ImageSource(str(folder), stored.training, stored.test, skipped, _found(listing, len(skipped)))


def _found(listing: FolderListing, left_out: int) -> tuple[str, ...]:
    """What a user may not expect about the parts and what was left out."""
    notes = [] if listing.tested else ["15 % of each class are set aside for the test, by their content"]
    if listing.others:
        notes.append(f"left out, since they are no part of it: {', '.join(listing.others)}")
    notes.extend(listing.notes)
    if left_out:
        notes.append(f"{left_out} files and folders left out")
    return tuple(notes)


def _decode(listing: FolderListing, key: str, rule: _Rule) -> Stored:
    """Hash every file, decide what is for the test, then decode unless the same content is decoded already."""
    with building(key):
        rows, unopened = _rows(listing, rule)
        store_key, stored, contents = _stored(rows, listing, rule)
        if not listing.tested:
            # A picture may be there as PNG and as BMP, too small to be compared before.
            while (copies := copies_in(stored.training.images, stored.test.images)).any() and not copies.all():
                rows = _with_tests(rows, contents, copies)
                store_key, stored, contents = _stored(rows, listing, rule)
        broken = {bytes.fromhex(content_hash): reason for content_hash, reason in contents.unreadable.items()}
        unreadable = sorted(unopened + [(row.path, broken[row.content_hash]) for row in rows if row.content_hash in broken])
        kept = _kept(rows, contents)
        near, groups = (_numbers([getattr(row, name) for row in kept]) for name in ("near", "group"))
        # A file that could not be opened may be readable next time, with the same size and date.
        if not unopened:
            remember(key, store_key, unreadable, near, groups)
        return replace(stored, unreadable=tuple(unreadable)).grouped(near, groups)


def _stored(rows: Sequence[_Row], listing: FolderListing, rule: _Rule) -> tuple[str, Stored, StoreContents]:
    """The decoded store of these rows, with its key; decoded now unless it is there."""
    content = content_fingerprint(listing.classes, [len(Part) * row.label + row.part for row in rows], _hashes(rows))
    store_key = key_of("folder", RULE_VERSION, rule, content)
    return store_key, *opened_or_made(store_key, lambda: _write(store_key, rows, listing, rule))


def _with_tests(rows: Sequence[_Row], contents: StoreContents, to_test: NDArray[np.bool_]) -> list[_Row]:
    """The rows with some of the training images, bool [n], among those for the test."""
    moved = {row.group for row, moves in zip(_kept(rows, contents), to_test, strict=False) if moves}
    return sorted(replace(row, part=Part.TEST) if row.group in moved else row for row in rows)


def _kept(rows: Sequence[_Row], contents: StoreContents) -> list[_Row]:
    """The rows that the store has, in its order."""
    return [row for row in rows if row.content_hash.hex() not in contents.unreadable]


def _numbers(numbers: list[int]) -> list[int] | None:
    """None where all are different."""
    return numbers if len(set(numbers)) < len(numbers) else None


def _rows(listing: FolderListing, rule: _Rule) -> tuple[list[_Row], list[tuple[str, str]]]:
    """The rows of the decoded store in their order, and (path, reason) of the files that cannot even be opened."""
    paths = [os.path.join(listing.root, path) for path in listing.paths]  # noqa: PTH118 (a hundred thousand Paths are slow)
    hashes = hash_files(paths)
    unopened = [(path, reason) for path, reason in zip(paths, hashes, strict=True) if isinstance(reason, str)]
    found = [(at, content_hash) for at, content_hash in enumerate(hashes) if isinstance(content_hash, bytes)]
    labels = [listing.labels[at] for at, _ in found]
    _check_counts(labels, listing)
    parts = [listing.parts[at] if listing.parts else Part.TRAINING for at, _ in found]
    files = [(paths[at], content_hash) for at, content_hash in found]
    alike = near_copies_of_files(files, rule.max_pixels)
    near = numbered([alike.get(content_hash, content_hash) for _, content_hash in files])
    named = [None if listing.groups is None else listing.groups[at] for at, _ in found]
    groups = joined(near, numbered(named))
    if not listing.tested:
        parts = _with_test_part(parts, labels, [content_hash for _, content_hash in files], groups)
    rows = [
        _Row(part, label, content_hash, path, int(number), int(group))
        for part, label, (path, content_hash), number, group in zip(parts, labels, files, near, groups, strict=True)
    ]
    return sorted(rows), unopened


def _with_test_part(
    parts: Sequence[Part], labels: Sequence[int], hashes: Sequence[bytes], groups: NDArray[np.int64]
) -> list[Part]:
    """The parts with some of the training images, and what belongs with them, moved to a test part."""
    training = [at for at, part in enumerate(parts) if part == Part.TRAINING]
    chosen = chosen_for_test([labels[at] for at in training], [hashes[at] for at in training], groups[training])
    tests = {groups[at] for at, is_test in zip(training, chosen, strict=True) if is_test}
    return [Part.TEST if each in tests else part for each, part in zip(groups, parts, strict=True)]


def _check_counts(labels: list[int], listing: FolderListing) -> None:
    if listing.parts is not None:
        return
    for name, count in zip(listing.classes, np.bincount(labels, minlength=len(listing.classes)), strict=True):
        if count < FEWEST_IN_CLASS:
            raise SqueezekitError(
                f"class '{name}' in {listing.root} holds too few pictures ({count}) to set some aside for the test: "
                f"it needs at least {FEWEST_IN_CLASS}"
            )


def _write(store_key: str, rows: Sequence[_Row], listing: FolderListing, rule: _Rule) -> None:
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


def _check_kept(kept: Sequence[_Row], listing: FolderListing) -> None:
    present = {(row.part, row.label) for row in kept}
    for part in {Part.TRAINING, Part.TEST, *(listing.parts or ())}:
        for label, name in enumerate(listing.classes):
            if (part, label) not in present:
                raise SqueezekitError(
                    f"class '{name}' in {listing.root} has no readable picture for its {part.name.lower()} part "
                    "(copies and groups stay together): add some"
                )


def _fingerprint(classes: Sequence[str], rows: Sequence[_Row]) -> str:
    # Which images validate matters as much as which there are.
    validates = len(classes) if any(row.part is Part.VALIDATION for row in rows) else 0
    return content_fingerprint(classes, [row.label + validates * (row.part is Part.VALIDATION) for row in rows], _hashes(rows))


def _hashes(rows: Sequence[_Row]) -> list[bytes]:
    return [row.content_hash for row in rows]


def _labels(rows: Sequence[_Row]) -> NDArray[np.int64]:
    return np.array([row.label for row in rows], dtype=np.int64)


def _name_left_out(listing: FolderListing, unreadable: Sequence[tuple[str, str]], strict: bool) -> None:
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
