"""Photos without labels: every picture below a folder, decoded once; which of them measure what is learnt from the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.decoded_store import StoreContents, Stored, building, key_of, opened_or_made, recall, remember, writing_store
from squeezekit.data.decoding import decode_files, hash_files
from squeezekit.data.image_file import MOST_PIXELS, RULE_VERSION
from squeezekit.data.image_set import ImageSet, content_fingerprint, copies_in
from squeezekit.data.near_copies import LEAST_SIDE, near_copies, thumbnails_of
from squeezekit.data.picture_files import lines_about, list_pictures
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

# The label of a photo that has none.
NO_LABEL = -1


@dataclass(frozen=True, eq=False)
class UnlabelledPhotos:
    """Photos without labels, and the indices of those to learn from, int64 [n]."""

    images: ImageSet
    indices: NDArray[np.int64]


def load_unlabelled(folder: str | Path, *, image_size: int, channels: int, max_pixels: int = MOST_PIXELS) -> ImageSet:
    """Every picture in `folder` and below, of different content, in an order that names and places do not change.

    All labels are `NO_LABEL`, and there are no classes. What cannot be used is named on standard error and left out. Raises
    SqueezekitError for what is no folder, and for one that holds no picture.
    """
    place = expanded(folder)
    if not place.is_dir():
        raise SqueezekitError(f"{folder}: is no folder of photos; name one with --unlabelled, or leave that out")
    found = list_pictures(place)
    rule = (image_size, channels, max_pixels)
    key = key_of("unlabelled", RULE_VERSION, rule, place.resolve(), [tuple(file) for file in found.files])
    stored = recall(key) or _decode([file.path for file in found.files], key, rule)
    for line in [
        *lines_about(found.left_out),
        *(f"{path} cannot be read as a picture ({why})" for path, why in stored.unreadable),
    ]:
        say(line)
    if not len(stored.training):
        raise SqueezekitError(
            f"{folder}: holds no picture that can be read; name another folder with --unlabelled, or leave that out"
        )
    return stored.training


def _decode(paths: Sequence[str], key: str, rule: tuple[int, int, int]) -> Stored:
    """Hash every file, then decode unless the same content is decoded already."""
    with building(key):
        hashes = hash_files(paths)
        unopened = [(path, why) for path, why in zip(paths, hashes, strict=True) if isinstance(why, str)]
        files = {content: path for path, content in zip(paths, hashes, strict=True) if isinstance(content, bytes)}
        store_key = key_of("unlabelled", RULE_VERSION, rule, *map(bytes.hex, sorted(files)))
        stored, contents = opened_or_made(store_key, lambda: _write(store_key, files, rule))
        broken = [(files[bytes.fromhex(content)], why) for content, why in contents.unreadable.items()]
        unreadable = sorted(unopened + broken)
        # A file that could not be opened may be readable next time, with the same size and date.
        if not unopened:
            remember(key, store_key, unreadable)
        return replace(stored, unreadable=tuple(unreadable))


def _write(store_key: str, files: dict[bytes, str], rule: tuple[int, int, int]) -> None:
    image_size, channels, _ = rule
    hashes, reasons = sorted(files), list[str | None]()
    with writing_store(store_key, (image_size, image_size, channels)) as writer:
        for pixels, block_reasons in decode_files([(files[content], content) for content in hashes], *rule):
            writer.append(pixels)
            reasons += block_reasons
        kept = [content for content, why in zip(hashes, reasons, strict=True) if why is None]
        broken = {content.hex(): why for content, why in zip(hashes, reasons, strict=True) if why is not None}
        labels = np.full(len(kept), NO_LABEL, np.int64)
        fingerprint = content_fingerprint((), [0] * len(kept), kept)
        writer.finish(labels, StoreContents((), True, len(kept), (fingerprint, ""), broken))


def unlike(photos: ImageSet, measuring: Iterable[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """The indices of photos that are no copies or near-copies of images in any of the sets `measuring`, uint8 [m, h, w, c].

    All are of one size; near-copies are not looked for among images of fewer than 64 pixels.
    """
    sets = list(measuring)
    found = np.any([copies_in(photos.images, images) for images in sets], axis=0)
    if photos.image_size >= LEAST_SIDE:
        first = near_copies(np.concatenate([thumbnails_of(images) for images in (photos.images, *sets)]))
        found |= np.isin(first[: len(photos)], first[len(photos) :])
    return np.flatnonzero(~found)
