"""The surest wrong answers of a model as thumbnails, with what it looked at."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from squeezekit.data.curation import Curation
from squeezekit.data.decoding import decode_files, hash_files
from squeezekit.data.folder_layout import Part
from squeezekit.data.folder_listing import FolderListing, list_folder
from squeezekit.data.image_file import read_image
from squeezekit.inference.class_activation import ClassActivation
from squeezekit.inference.evaluation import Evaluation
from squeezekit.inference.model import Model
from squeezekit.system.errors import SqueezekitError

MOST, SIDE, QUALITY = 24, 112, 75
# To find the files of pictures, others of their classes are decoded: of more than so many it would take minutes.
MOST_DECODED = 10_000
# The color of what the network looked at, and how much of the picture it covers at most.
COLOR, COVER = (255, 60, 0), 0.65


@dataclass(frozen=True)
class Mistake:
    """A picture of class `label` taken for `answer`, with probabilities 0…1 of both.

    picture, seen: `data:` addresses of the picture, and of the same with a map of what the network looked at, "" where there is
    none. path: relative to the folder of pictures, "" where it was not found.
    """

    label: str
    answer: str
    probability: float
    probability_of_label: float
    path: str
    picture: str
    seen: str


def worst_mistakes(model: Model, evaluation: Evaluation, folder: Path, curation: Curation) -> list[Mistake]:
    """At most 24 wrong answers, the surest first, on images that are decoded from `folder`."""
    images, probabilities = evaluation.images, evaluation.probabilities
    answers = probabilities.argmax(1)
    wrong = np.flatnonzero(answers != images.labels)
    chosen = wrong[np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")][:MOST]
    if not len(chosen):
        return []
    pixels, labels = np.asarray(images.images[chosen]), [images.classes[label] for label in images.labels[chosen]]
    maps = _maps(model, pixels, answers[chosen])
    files = _files_of(pixels, labels, folder, curation, model.max_pixels)
    found = []
    for at, own, seen, path, label in zip(chosen, pixels, maps, files, labels, strict=True):
        picture = _large(own, path, model.max_pixels)
        sure, of_label = (float(probabilities[at, each]) for each in (answers[at], images.labels[at]))
        relative = os.path.relpath(path, folder) if path else ""
        covered = "" if seen is None else _address(_covered(picture, seen))
        found.append(Mistake(label, images.classes[answers[at]], sure, of_label, relative, _address(picture), covered))
    return found


def _maps(model: Model, pixels: NDArray[np.uint8], answers: NDArray[np.int64]) -> Sequence[NDArray[np.float32] | None]:
    """What spoke for the answer, [h, w] of each image; None where the network has no class activation maps."""
    try:
        return list(ClassActivation(model)(pixels, answers))
    except SqueezekitError:
        return [None] * len(pixels)


def _files_of(
    pixels: NDArray[np.uint8], labels: Sequence[str], folder: Path, curation: Curation, max_pixels: int
) -> list[Path | None]:
    """The file that each image was decoded from, found by its pixels; None where none gives just these."""
    found = dict[bytes, Path]()
    try:
        files = _candidates(list_folder(folder, curation), set(labels))
    except SqueezekitError:
        files = []
    if len(files) <= MOST_DECODED:
        paths = iter(files)
        for block, reasons in decode_files(files, pixels.shape[1], pixels.shape[3], max_pixels):
            # In this order no path is taken for a reason that is in the next block.
            readable = [path for reason, (path, _) in zip(reasons, paths, strict=False) if reason is None]
            found |= {_digest(each): Path(path) for each, path in zip(block, readable, strict=True)}
    return [found.get(_digest(each)) for each in pixels]


def _candidates(listing: FolderListing, labels: set[str]) -> list[tuple[str, bytes]]:
    """(path, SHA-256) of the pictures of these classes that may be for the test."""
    parts = listing.parts if listing.tested else None
    places = [at for at, label in enumerate(listing.labels) if listing.classes[label] in labels]
    paths = [
        os.path.join(listing.root, listing.paths[at])  # noqa: PTH118
        for at in places
        if parts is None or parts[at] is Part.TEST
    ]
    hashes = zip(paths, hash_files(paths), strict=True)
    return [(path, content) for path, content in hashes if isinstance(content, bytes)]


def _digest(pixels: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(pixels.tobytes()).digest()


def _large(own: NDArray[np.uint8], path: Path | None, max_pixels: int) -> Image.Image:
    """The picture's central square as its file has it, or as the network sees it."""
    if path is not None:
        try:
            return Image.fromarray(read_image(path, SIDE, 3, max_pixels=max_pixels))
        except SqueezekitError:
            pass
    image = Image.fromarray(own.squeeze(-1) if own.shape[-1] == 1 else own).convert("RGB")
    return image.resize((SIDE, SIDE), Image.Resampling.NEAREST if own.shape[0] < SIDE else Image.Resampling.BILINEAR)


def _covered(picture: Image.Image, seen: NDArray[np.float32]) -> Image.Image:
    """The picture in grey, colored where the map speaks for the answer: the more, the stronger."""
    positive = np.maximum(seen, 0)
    shares = (positive / (positive.max() or 1) * 255 * COVER).round().astype(np.uint8)
    mask = Image.fromarray(shares).resize(picture.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", picture.size, COLOR), picture.convert("L").convert("RGB"), mask)


def _address(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
