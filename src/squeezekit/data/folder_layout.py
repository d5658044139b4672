"""Which folders of a data set are its parts: `Training/` and `valid/` as well as `train/` and `val/`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from squeezekit.data.image_file import IMAGE_SUFFIXES
from squeezekit.data.picture_files import is_run, passed_over
from squeezekit.system.errors import SqueezekitError


class Part(IntEnum):
    """What the pictures of a folder are for, in the order in which they are stored."""

    TRAINING = 0
    VALIDATION = 1
    TEST = 2


# Without spaces, signs and the endings below, in small letters.
SPELLINGS = {
    **dict.fromkeys(("train", "training", "trn"), Part.TRAINING),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), Part.VALIDATION),
    **dict.fromkeys(("test", "testing", "tst"), Part.TEST),
}
ENDINGS = ("set", "data", "dataset", "images", "split")


@dataclass(frozen=True)
class Layout:
    """Where the class folders are: in `parts`, or where there are none in the data folder itself. others: folders left out."""

    parts: dict[Part, Path]
    others: tuple[str, ...] = ()


def find_layout(folder: Path) -> Layout:
    """The parts of a data folder; raises SqueezekitError for one that can be understood in two ways, OSError."""
    folders: dict[Part, Path] = {}
    flat: list[str] = []
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not passed_over(entry.name))
    for name in names:
        part = _part(name)
        if part is None:
            continue
        if not _holds_class_folders(folder / name):
            flat.append(name)
        elif part in folders:
            raise SqueezekitError(f"{folder} holds two {part.name.lower()} parts, {folders[part].name} and {name}: keep one")
        else:
            folders[part] = folder / name
    _check(folder, names, folders, flat)
    return Layout(folders, tuple(name for name in names if folder / name not in folders.values()) if folders else ())


def holds_runs(folder: str | Path) -> bool:
    """Whether one of its folders is that of a training."""
    return any(is_run(entry.path) for entry in os.scandir(folder))


def _part(name: str) -> Part | None:
    plain = re.sub(r"[\W_\d]", "", name.casefold())
    for ending in ENDINGS:
        plain = plain.removesuffix(ending) or plain
    return SPELLINGS.get(plain)


def _holds_class_folders(part: Path) -> bool:
    # A folder "train" that holds pictures itself is a class: railway trains.
    entries = [entry for entry in os.scandir(part) if not passed_over(entry.name)]
    pictures = any(entry.name.lower().endswith(IMAGE_SUFFIXES) for entry in entries)
    return not pictures and any(entry.is_dir() for entry in entries)


def _check(folder: Path, names: list[str], folders: dict[Part, Path], flat: list[str]) -> None:
    flat_parts = {_part(name) for name in flat}
    if Part.TRAINING in flat_parts and len(flat_parts) > 1:
        raise SqueezekitError(
            f"{folder / flat[0]} and {folder / flat[1]} look like parts of a data set and hold no class folders: give each one "
            "folder of pictures for each class"
        )
    if not folders:
        return
    if Part.TRAINING not in folders:
        held = next(iter(folders.values()))
        raise SqueezekitError(
            f"{held} looks like a part of a data set, and {folder} has no training part: put the classes into "
            f"{folder / 'train'}, or rename {held.name}"
        )
    if len(folders) == 1 and not flat:
        held = folders[Part.TRAINING]
        raise SqueezekitError(f"{held} has no {folder / 'test'} beside it: add test/<class>/… or val/<class>/…, or give {held}")
