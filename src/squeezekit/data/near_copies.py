"""Near-copies: the same picture resized, recompressed, brightened or slightly cropped, and pictures of a burst.

A picture is compared as its central square, grey, of 32 × 32 pixels. Pairs whose 63-bit hashes of its lowest frequencies (those
of pHash; Zauner, 2010) differ in few bits are candidates; of a candidate, one picture must correlate with the other as a whole
or with a part of it, as a crop or a moved camera leaves. What is small has too little in it to tell a copy from a likeness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.block_decoding import File, same_content
from squeezekit.data.decoded_store import key_of, recall_facts, remember_facts
from squeezekit.data.decoding import in_blocks
from squeezekit.data.image_file import MOST_PIXELS, UnreadableImageError, picture_size, read_image
from squeezekit.data.quiet_pillow import quiet_pillow

# Pictures with a shorter side are not compared.
LEAST_SIDE = 64
# Raise it whenever one of the numbers below changes.
RULE_VERSION = 1
SIDE, FREQUENCIES, COMPARED_SIDE = 32, 8, 16
MOST_BITS, LEAST_CORRELATION = 14, 0.97
# Of the side: what a part of a picture shows, at its beginning, its middle and its end.
PART_SIDES = (1.0, 0.95, 0.9)
ROWS_AT_ONCE = 512

Floats = NDArray[np.float32]


def near_copies_of_files(files: Sequence[File], max_pixels: int = MOST_PIXELS) -> dict[bytes, bytes]:
    """For each content among `files`, given as (path, SHA-256), that has near-copies: the least content of its group.

    Found once for the same contents, and remembered in the cache. Files that are no pictures have none.
    """
    first = {content: path for path, content in reversed(files)}
    contents = sorted(first)
    key = key_of("near copies", RULE_VERSION, max_pixels, *map(bytes.hex, contents))
    if (known := recall_facts(key)) is None:
        known = {"groups": _groups([(first[content], content) for content in contents], max_pixels)}
        remember_facts(key, known)
    groups = [[bytes.fromhex(content) for content in group] for group in known["groups"]]
    return {content: group[0] for group in groups for content in group}


def near_copies(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For each of n thumbnails, uint8 [n, 32, 32], the index of the first in its group of near-copies: int64 [n]."""
    first = np.arange(len(thumbnails), dtype=np.int64)
    pairs = np.concatenate([np.empty((0, 2), np.int64), *_candidates(_hashes(thumbnails))])
    alike = pairs[_correlations(thumbnails, pairs) >= LEAST_CORRELATION]
    while (first[alike[:, 0]] != first[alike[:, 1]]).any():
        least = first[alike].min(1)
        for end in alike.T:
            np.minimum.at(first, end, least)
        first = first[first]
    return first


def thumbnail(content: bytes, max_pixels: int = MOST_PIXELS) -> NDArray[np.uint8] | None:
    """What is compared of a picture file, uint8 [32, 32]; None for one that is too small, or cannot be read."""
    try:
        if min(picture_size(content, max_pixels)) < LEAST_SIDE:
            return None
        return read_image(BytesIO(content), SIDE, 1, max_pixels=max_pixels)[..., 0]
    except UnreadableImageError:
        return None


def thumbnails_of(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is compared of images that are decoded, uint8 [n, h, w, c]: uint8 [n, 32, 32]."""

    def thumbnails(block: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [read_image(images[at], SIDE, 1)[..., 0] for at in block]

    found = list(in_blocks("comparing pictures", thumbnails, range(len(images))))
    return np.stack(found) if found else np.empty((0, SIDE, SIDE), np.uint8)


def _groups(files: Sequence[File], max_pixels: int) -> list[list[str]]:
    """The contents, in hex, of each group of near-copies."""

    def thumbnails(block: Sequence[File]) -> list[NDArray[np.uint8] | None]:
        with quiet_pillow:
            return [thumbnail(same_content(path, content), max_pixels) for path, content in block]

    found = list(in_blocks("comparing pictures", thumbnails, files))
    compared = [at for at, each in enumerate(found) if each is not None]
    if not compared:
        return []
    groups: dict[int, list[str]] = {}
    for at, first in zip(compared, near_copies(np.stack([each for each in found if each is not None])), strict=True):
        groups.setdefault(int(first), []).append(files[at][1].hex())
    return [group for group in groups.values() if len(group) > 1]


def _hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Whether each of the lowest frequencies but the mean is above their median: 63 bits, uint64 [n]."""
    place = np.arange(SIDE)
    cosines = np.cos(np.pi * (2 * place + 1) * place[:FREQUENCIES, None] / (2 * SIDE)).astype(np.float32)
    lowest = (cosines @ thumbnails.astype(np.float32) @ cosines.T).reshape(-1, FREQUENCIES**2)[:, 1:]
    bits = lowest > np.median(lowest, axis=1, keepdims=True)
    return np.packbits(np.pad(bits, ((0, 0), (1, 0))), axis=1).view(">u8")[:, 0].astype(np.uint64)


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Pairs [n, 2] whose hashes differ in few bits, the earlier first."""
    for start in range(0, len(hashes), ROWS_AT_ONCE):
        differing = np.bitwise_count(hashes[start : start + ROWS_AT_ONCE, None] ^ hashes[None, start:])
        one, other = np.nonzero(differing <= MOST_BITS)
        yield np.stack([one, other], 1)[other > one] + start


def _correlations(thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64]) -> Floats:
    """How well each pair [n, 2] agrees, at best -1…1: one as a whole with the other as a whole or a part of it."""
    parts = _parts()
    pixels = thumbnails.astype(np.float32)
    whole = np.concatenate([_views(each, parts[:1]) for each in pixels]) if len(pairs) else np.empty((0, 0), np.float32)
    found: Floats = np.einsum("nk,nk->n", whole[pairs[:, 0]], whole[pairs[:, 1]])
    for one, other in ((0, 1), (1, 0)):
        unsure = np.flatnonzero(found < LEAST_CORRELATION)
        unsure = unsure[np.argsort(pairs[unsure, one], kind="stable")]
        for chosen in np.split(unsure, np.flatnonzero(np.diff(pairs[unsure, one])) + 1):
            if len(chosen):
                views = _views(pixels[pairs[chosen[0], one]], parts)
                found[chosen] = np.maximum(found[chosen], (whole[pairs[chosen, other]] @ views.T).max(1))
    return found


def _parts() -> Floats:
    """Matrices [7, 16, 32] that take a side of 32 pixels to 16, all of it and each part of it, interpolated linearly."""
    matrices = []
    for begin, side in [(at, each) for each in PART_SIDES for at in sorted({0.0, (1 - each) / 2, 1 - each})]:
        points = np.clip((begin + (np.arange(2 * COMPARED_SIDE) + 0.5) / (2 * COMPARED_SIDE) * side) * SIDE - 0.5, 0, SIDE - 1)
        below = np.minimum(points.astype(np.int64), SIDE - 2)
        matrix = np.zeros((2 * COMPARED_SIDE, SIDE), np.float32)
        row = np.arange(2 * COMPARED_SIDE)
        matrix[row, below], matrix[row, below + 1] = 1 - (points - below), points - below
        matrices.append(matrix.reshape(COMPARED_SIDE, 2, SIDE).mean(1))
    return np.stack(matrices)


def _views(pixels: Floats, parts: Floats) -> Floats:
    """Each part of one thumbnail [32, 32], in both directions, less its mean and of length 1: [parts², 256]."""
    rows = parts.reshape(-1, SIDE)
    grid = (rows @ pixels @ rows.T).reshape(len(parts), COMPARED_SIDE, len(parts), COMPARED_SIDE).transpose(0, 2, 1, 3)
    views = grid.reshape(len(parts) ** 2, -1)
    centred: Floats = views - views.mean(1, keepdims=True)
    # What is all of one colour is like nothing.
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-3)
    return centred
