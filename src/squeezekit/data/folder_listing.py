"""What a folder holds: each picture with its class, its part and its group, by folders or by a file of labels."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from squeezekit.data.class_names import class_name
from squeezekit.data.curation import Curation, matched, pattern, read_list
from squeezekit.data.folder_layout import FolderLayout, Part, find_layout, holds_runs
from squeezekit.data.image_file import IMAGE_SUFFIXES
from squeezekit.data.labels_file import LabelledPath, read_labels
from squeezekit.data.picture_files import LeftOut, PictureFiles, is_run, lines_about, list_pictures, passed_over
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.shown_text import shortened

# The column of a labels file that groups pictures unless another one is named.
GROUP = "group"


@dataclass(frozen=True)
class FolderListing:
    """What a folder holds, one entry an image; `parts` says of each what it is for.

    parts is None for `<class>/…` alone. stamps are what tells a file from another one without reading it; paths are relative to
    `root`. groups: the name of what an image belongs to, None for one that stands alone; None for all where nobody asked. notes:
    what a list left out, and how images are grouped, in words.
    """

    root: Path
    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    stamps: list[tuple[int, ...]]
    parts: list[Part] | None
    left_out: list[LeftOut]
    others: tuple[str, ...] = ()
    groups: list[str | None] | None = None
    notes: tuple[str, ...] = ()

    @property
    def tested(self) -> bool:
        """Whether the folder has a test part of its own, readable or not."""
        return self.parts is not None and Part.TEST in self.parts


def list_folder(folder: Path, curation: Curation | None = None) -> FolderListing:
    """What is there, by file names and sizes alone; raises SqueezekitError."""
    given = curation or Curation()
    try:
        listing = _list_labelled(folder, given) if given.labels else _list(folder)
        if given.leave_out:
            listing = _without(listing, given.leave_out)
        if listing.groups is not None:
            return _with_groups(listing, f"column '{given.group_by or GROUP}'", listing.groups)
        return _grouped(listing, given.group_by) if given.group_by else listing
    except OSError as error:
        raise SqueezekitError(f"{error.filename} cannot be listed ({error.strerror}): check its permissions") from error


def _list(folder: Path) -> FolderListing:
    layout = find_layout(folder)
    return _list_parts(folder, layout) if layout.parts else _list_classes(folder, folder)


def _list_labelled(folder: Path, curation: Curation) -> FolderListing:
    """What a labels file says, with groups where it has a column for them."""
    file = expanded(curation.labels)
    rows = read_labels(file)
    classes = tuple(sorted({row.label for row in rows}))
    if len(classes) < 2:
        raise SqueezekitError(f"{file}: names {len(classes)} classes, and at least 2 are needed: add pictures with other labels")
    number = {name: index for index, name in enumerate(classes)}
    parts = [row.part for row in rows] if any(row.columns.get("split") for row in rows) else None
    listing = FolderListing(
        folder, classes, [row.path for row in rows], [number[row.label] for row in rows], _stamps(folder, file, rows), parts, []
    )
    column = curation.group_by or GROUP
    grouped = any(column in row.columns for row in rows)
    return replace(listing, groups=[row.columns.get(column) or None for row in rows]) if grouped else listing


def _stamps(folder: Path, file: Path, rows: list[LabelledPath]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    missing: list[LabelledPath] = []
    for row in rows:
        try:
            status = os.stat(os.path.join(folder, row.path))  # noqa: PTH116, PTH118 (a hundred thousand Paths are slow)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(row)
        else:
            found.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    if missing:
        first = missing[0]
        raise SqueezekitError(
            f"{file}: {len(missing):,} of {len(rows):,} pictures are not in {folder}, the first being "
            f"'{shortened(first.path)}' of line {first.line}: correct their paths, or name their folder with --data"
        )
    return found


def _without(listing: FolderListing, leave_out: str) -> FolderListing:
    """The listing without the pictures in the list `leave_out`; raises SqueezekitError where a class loses all of them."""
    file = expanded(leave_out)
    named = set(read_list(file))
    kept = [at for at, path in enumerate(listing.paths) if path not in named]
    absent = len(named.difference(listing.paths, (os.path.relpath(each.path, listing.root) for each in listing.left_out)))
    counts = Counter(listing.labels[at] for at in kept)
    if empty := [name for label, name in enumerate(listing.classes) if not counts[label]]:
        raise SqueezekitError(f"{file}: leaves no picture of class '{empty[0]}': take some off the list")
    note = f"{len(listing.paths) - len(kept):,} left out by {file.name}"
    note += f" ({absent:,} more of it are not there)" * bool(absent)
    return replace(
        listing,
        paths=[listing.paths[at] for at in kept],
        labels=[listing.labels[at] for at in kept],
        stamps=[listing.stamps[at] for at in kept],
        parts=listing.parts and [listing.parts[at] for at in kept],
        groups=listing.groups and [listing.groups[at] for at in kept],
        left_out=[each for each in listing.left_out if os.path.relpath(each.path, listing.root) not in named],
        notes=(*listing.notes, note),
    )


def _grouped(listing: FolderListing, group_by: str) -> FolderListing:
    expression = pattern(group_by)
    groups = matched(expression, [path.replace(os.sep, "/") for path in listing.paths])
    if not any(groups):
        raise SqueezekitError(
            f"--group-by '{shortened(group_by)}' matches no path, such as '{shortened(listing.paths[0])}': correct it"
        )
    return _with_groups(listing, f"'{shortened(group_by)}'", groups)


def _with_groups(listing: FolderListing, name: str, groups: list[str | None]) -> FolderListing:
    sizes = Counter(group for group in groups if group is not None)
    alone = len(groups) - sizes.total()
    note = f"grouped by {name}: {len(sizes):,} groups of at most {max(sizes.values(), default=0):,} images"
    note += f", {alone:,} without one stand alone" * bool(alone)
    return replace(listing, groups=groups, notes=(*listing.notes, note))


def _list_parts(folder: Path, layout: FolderLayout) -> FolderListing:
    listings = {part: _list_classes(place, folder) for part, place in sorted(layout.parts.items())}
    training = listings[Part.TRAINING]
    for part, listing in listings.items():
        for name in sorted(set(training.classes) ^ set(listing.classes)):
            holder, lacking = (Part.TRAINING, part) if name in training.classes else (part, Part.TRAINING)
            raise SqueezekitError(
                f"class '{name}' stands in {layout.parts[holder]} but not in {layout.parts[lacking]}: both need the same classes"
            )
    joined = FolderListing(folder, training.classes, [], [], [], parts := [], [], layout.others)
    for part, listing in listings.items():
        joined.paths.extend(listing.paths)
        joined.labels.extend(listing.labels)
        joined.stamps.extend(listing.stamps)
        joined.left_out.extend(listing.left_out)
        parts.extend([part] * len(listing.paths))
    return joined


def _list_classes(root: Path, folder: Path) -> FolderListing:
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
    listing = FolderListing(folder, tuple(sorted(found)), [], [], [], None, left_out)
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
