"""Image folders: `train/<class>/…` and `test/<class>/…`, or `<class>/…` alone."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from squeezekit.errors import SqueezekitError
from squeezekit.images import store
from squeezekit.images.image_set import ImageSet, ImageSource
from squeezekit.images.picture import PICTURE_SUFFIXES, read_picture
from squeezekit.images.splits import test_by_content
from squeezekit.screen import progress_bar

CHUNK = 2048


@dataclass(frozen=True)
class _Files:
    """Paths relative to `root` with the label of each, sorted by class and name; `stamps` are size and time."""

    root: Path
    classes: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    stamps: list[tuple[int, int]]


def load_folder(folder: Path, *, image_size: int = 32, channels: int = 3, strict: bool = False) -> ImageSource:
    """Every picture of a folder, decoded once and cached.

    Without a `test` folder of its own, 15 % of each class become the test part, chosen by the hash of each file's
    content (`splits.test_by_content`). Hidden files and other kinds of files are passed over. A picture that cannot
    be read is named on standard error and left out; with `strict` it raises SqueezekitError.
    """
    parts = [folder / "train", folder / "test"]
    if all(part.is_dir() for part in parts):
        listed = [_list(part) for part in parts]
        if listed[0].classes != listed[1].classes:
            odd = sorted(set(listed[0].classes) ^ set(listed[1].classes))
            raise SqueezekitError(f"{folder}: train and test hold different classes ({', '.join(odd)}); make them equal")
        decoded = [_decoded(files, image_size, channels, strict) for files in listed]
        (training, _, lost), (test, _, lost_test) = decoded
        return ImageSource(str(folder), training, test, (*lost, *lost_test))
    images, hashes, unreadable = _decoded(_list(folder), image_size, channels, strict)
    is_test = test_by_content(images.labels, hashes, images.classes, str(folder))
    return ImageSource(
        str(folder), images.subset(np.flatnonzero(~is_test)), images.subset(np.flatnonzero(is_test)), unreadable
    )


def _list(root: Path) -> _Files:
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise SqueezekitError(
            f"{root}: {len(classes)} class folders found, at least two are needed: one folder of pictures for each class"
        )
    files = _Files(root, tuple(classes), [], [], [])
    for label, name in enumerate(classes):
        pictures = sorted(_pictures(root / name), key=lambda entry: entry.path)
        if not pictures:
            raise SqueezekitError(f"{root / name}: class '{name}' holds no pictures; add some or remove the folder")
        for entry in pictures:
            status = entry.stat()
            files.paths.append(os.path.relpath(entry.path, root))
            files.labels.append(label)
            files.stamps.append((status.st_size, status.st_mtime_ns))
    return files


def _pictures(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _pictures(Path(entry.path))
        elif entry.name.lower().endswith(PICTURE_SUFFIXES):
            yield entry


@dataclass(frozen=True)
class _Decoded:
    """The pixels of the pictures that can be read, and for every file its hash and whether it is among them."""

    pixels: NDArray[np.uint8]
    hashes: list[str]
    unreadable: list[int]
    content: str


def _decoded(
    files: _Files, image_size: int, channels: int, strict: bool
) -> tuple[ImageSet, list[str], tuple[str, ...]]:
    """The images, the hash of each one's file, and the names of those that could not be read."""
    key = _digest(str(files.root.resolve()), f"{image_size} {channels}", *map(str, zip(files.paths, files.stamps)))
    decoded = _cached(files, key, image_size, channels) or _decode(files, key, image_size, channels)
    lost = tuple(str(files.root / files.paths[i]) for i in decoded.unreadable)
    _name_unreadable(lost, strict)
    labels = np.delete(np.array(files.labels, np.int64), decoded.unreadable)
    for label, name in enumerate(files.classes):
        if label not in labels:
            raise SqueezekitError(f"{files.root / name}: no picture of class '{name}' can be read; replace them")
    images = ImageSet(decoded.pixels, labels, files.classes, decoded.content, mirrorable=True)
    broken = set(decoded.unreadable)
    return images, [h for i, h in enumerate(decoded.hashes) if i not in broken], lost


def _cached(files: _Files, key: str, image_size: int, channels: int) -> _Decoded | None:
    listing = store.load_listing(key)
    if listing is None:
        return None
    hashes, unreadable, content = listing["hashes"], listing["unreadable"], listing["content"]
    shape = (len(files.paths) - len(unreadable), image_size, image_size, channels)
    pixels = store.load_pixels(f"{content}-{image_size}-{channels}", shape)
    return None if pixels is None else _Decoded(pixels, hashes, unreadable, content)


def _decode(files: _Files, key: str, image_size: int, channels: int) -> _Decoded:
    """Read every file once, in threads (Pillow decodes outside the interpreter's lock), a chunk at a time."""
    hashes: list[str] = []
    unreadable: list[int] = []

    def read(path: str) -> tuple[str, NDArray[np.uint8] | None]:
        file = files.root / path
        try:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
        except OSError:
            return "", None
        try:
            return digest, read_picture(BytesIO(content), image_size, channels)
        except SqueezekitError:
            return digest, None

    def chunks(pool: ThreadPoolExecutor, progress: Progress) -> Iterator[NDArray[np.uint8]]:
        bar = progress.add_task(f"decoding {files.root}", total=len(files.paths), note="")
        paths = iter(files.paths)
        while part := list(islice(paths, CHUNK)):
            pixels = []
            for digest, picture in pool.map(read, part):
                if picture is None:
                    unreadable.append(len(hashes))
                else:
                    pixels.append(picture)
                hashes.append(digest)
            progress.advance(bar, len(part))
            if pixels:
                yield np.stack(pixels)

    with ThreadPoolExecutor(os.cpu_count()) as pool, progress_bar() as progress, store.pixels_aside() as aside:
        for chunk in chunks(pool, progress):
            aside.append(chunk)
        content = _digest(*map(str, zip(hashes, files.labels)), *files.classes)
        pixels = aside.keep_as(f"{content}-{image_size}-{channels}", (image_size, image_size, channels))
    store.save_listing(key, {"hashes": hashes, "unreadable": unreadable, "content": content})
    return _Decoded(pixels, hashes, unreadable, content)


def _name_unreadable(lost: tuple[str, ...], strict: bool) -> None:
    if lost and strict:
        raise SqueezekitError(f"{lost[0]}: cannot be read ({len(lost)} such pictures); mend it or leave out --strict")
    for name in lost:
        print(f"{name}: cannot be read, left out", file=sys.stderr)
    if lost:
        print(f"{len(lost)} pictures that cannot be read were left out", file=sys.stderr)


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()
