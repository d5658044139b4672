"""The picture files below a folder, and what looks like a picture there but cannot be used: one rule for training and predict."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from squeezekit.data.image_file import IMAGE_SUFFIXES

# What systems and network drives put beside the pictures of a person, in small letters.
SYSTEM_NAMES = frozenset(
    ("__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db")
)
# Formats that are not read here: a file with such a suffix was meant to be a picture.
UNREAD_SUFFIXES = frozenset(
    (
        *(".tif", ".tiff", ".gif", ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".jxr", ".mpo"),
        *(".psd", ".xcf", ".svg", ".svgz", ".ico", ".icns", ".dib", ".tga", ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".dds"),
        *(".exr", ".hdr", ".dcm", ".eps", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    )
)
NAMES_IN_LINE = 3
RUN_FILES = ("config.toml", "split.npz")


class PictureFile(NamedTuple):
    """A file with the suffix of a picture; times in nanoseconds. Of a link, these are the numbers of the file behind it."""

    path: str
    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class LeftOut(NamedTuple):
    """A file or folder that cannot be used, and why, in words that name no file."""

    path: str
    reason: str


@dataclass(frozen=True)
class PictureFiles:
    """What `list_pictures` found, both sorted by path."""

    files: list[PictureFile]
    left_out: list[LeftOut]


def list_pictures(folder: str | Path, *, within: str | Path | None = None) -> PictureFiles:
    """Every picture file in `folder` and below; raises nothing: a folder that cannot be listed is among `left_out`.

    Hidden and system files and folders (`passed_over`) and run folders are passed over. Links to files and folders are followed,
    but not to folders inside of `within` (`folder` unless it is given) or above it, whose pictures are there already. Left out
    are files with the suffix of another picture format, links to nothing, and what is neither a file nor a folder. Paths begin
    with `folder` as it is given.
    """
    whole = os.path.realpath(folder if within is None else within)
    found = PictureFiles([], [])
    folders, linked, seen = deque([os.fspath(folder)]), deque[str](), set[tuple[int, int]]()
    # Links come after all real folders, so that the pictures of one reached twice keep their plain path.
    while folders or linked:
        path = folders.pop() if folders else linked.popleft()
        try:
            status = os.stat(path)  # noqa: PTH116 (a hundred thousand Paths are slow)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if is_run(path) or (os.path.islink(path) and path != os.fspath(folder) and _related(os.path.realpath(path), whole)):  # noqa: PTH114
                continue
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    _sort_out(entry, found, folders, linked)
        except OSError as error:
            found.left_out.append(LeftOut(path, f"the folder cannot be listed: {error.strerror or error}"))
    found.files.sort()
    found.left_out.sort()
    return found


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is nobody's picture or class: hidden, or put there by a system."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_run(folder: str | Path) -> bool:
    """Whether this is the folder of a training, whose pictures are curves."""
    return all(os.path.exists(os.path.join(folder, name)) for name in RUN_FILES)  # noqa: PTH110, PTH118


def _related(one: str, other: str) -> bool:
    """Whether one of two real paths is the other or holds it."""
    return Path(one).is_relative_to(other) or Path(other).is_relative_to(one)


def lines_about(left_out: Sequence[LeftOut]) -> list[str]:
    """One line for each reason, with the number of files and the first of their names."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out:
        by_reason.setdefault(reason, []).append(path)
    return [_line(paths, reason) for reason, paths in by_reason.items()]


def _line(paths: Sequence[str], reason: str) -> str:
    if len(paths) == 1:
        return f"{paths[0]} is left out ({reason})"
    names = ", ".join(paths[:NAMES_IN_LINE]) + (", …" if len(paths) > NAMES_IN_LINE else "")
    return f"{len(paths)} are left out ({reason}): {names}"


def _sort_out(entry: os.DirEntry[str], found: PictureFiles, folders: deque[str], linked: deque[str]) -> None:
    if passed_over(entry.name):
        return
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (a hundred thousand Paths are slow)
    try:
        if entry.is_dir():
            (linked if entry.is_symlink() else folders).append(entry.path)
        elif suffix in IMAGE_SUFFIXES and entry.is_file():
            status = entry.stat()
            stamps = status.st_mtime_ns, status.st_ctime_ns
            found.files.append(PictureFile(entry.path, status.st_size, *stamps, status.st_ino))
        elif reason := _reason(entry, suffix):
            found.left_out.append(LeftOut(entry.path, reason))
    except OSError as error:
        if _worth_naming(suffix):
            found.left_out.append(LeftOut(entry.path, error.strerror or str(error)))


def _reason(entry: os.DirEntry[str], suffix: str) -> str | None:
    if entry.is_symlink() and not os.path.exists(entry.path) and _worth_naming(suffix):  # noqa: PTH110
        return "a link to nothing"
    if suffix in UNREAD_SUFFIXES:
        return f"{suffix} is none of the formats that are read, JPEG, PNG, BMP and WebP"
    return "neither a file nor a folder" if suffix in IMAGE_SUFFIXES else None


def _worth_naming(suffix: str) -> bool:
    # What has no suffix may have been a link to a folder of pictures.
    return suffix in IMAGE_SUFFIXES or suffix in UNREAD_SUFFIXES or not suffix
