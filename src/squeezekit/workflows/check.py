"""A look at a folder of pictures before anything is trained on it; nothing is deleted or moved."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.curation import Curation, folder_of_labels
from squeezekit.data.decoding import decode_files, hash_files
from squeezekit.data.doubtful_labels import label_doubts
from squeezekit.data.findings import CopyGroup, DoubtfulLabel, Findings, FoundPicture, Shortcut
from squeezekit.data.folder_layout import Part
from squeezekit.data.folder_listing import FolderListing, list_folder
from squeezekit.data.groups import divided, joined, numbered
from squeezekit.data.image_file import MOST_PIXELS
from squeezekit.data.near_copies import near_copies_of_files
from squeezekit.data.picture_facts import PictureFacts, facts_of_files
from squeezekit.inference.model import load_model
from squeezekit.inference.pooled_features import PooledFeatures
from squeezekit.pretrained.files import model_path
from squeezekit.reporting.check_page import write_check_page
from squeezekit.system import atomic_io
from squeezekit.system.console import Advance, progress_bar
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

# Whose features tell the classes of photos apart; other models see their images at least so large.
MODEL, IMAGE_SIZE = "photo-l", 96
FOLDS = 5
# Logistic regression, regularized with this inverse strength, tells classes apart (docs/log.md).
STRENGTH = 0.03
# Of what the pictures show above a guess, what something else must reach to be worth a word.
SHORTCUT = 0.6
NAMES = {Part.TRAINING: "train", Part.VALIDATION: "val", Part.TEST: "test"}
KINDS = {
    "size or file size": ("width", "height", "bytes"),
    "brightness and contrast": ("brightness", "contrast"),
    "the border": ("border_brightness", "border_contrast"),
}


@dataclass(frozen=True, eq=False)
class _Pictures:
    """Those that can be read, n in number: files (path, SHA-256), labels and groups int64 [n]."""

    files: list[tuple[str, bytes]]
    found: list[FoundPicture]
    facts: list[PictureFacts]
    labels: NDArray[np.int64]
    near: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]


def check(
    data: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    *,
    write_list: str | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    quick: bool = False,
    labels: str | PathLike[str] | None = None,
    group_by: str = "",
    leave_out: str | PathLike[str] | None = None,
    max_pixels: int = MOST_PIXELS,
) -> Findings:
    """Look for copies, near-copies, doubtful labels, shortcuts, and blurred, blank and broken pictures in a folder.

    data, labels, group_by, leave_out: as `train` takes them. out: a page with thumbnails to write. write_list: a list to write of
    what `leave_out` may leave out. model: the MODEL whose features tell classes apart, by default `photo-l`. quick: without
    doubtful labels and shortcuts, for which pictures are classified by others in several rounds.

    Raises SqueezekitError for what is no folder of pictures in classes, and where a page or list cannot be written.
    """
    begin = time.monotonic()
    curation = Curation(str(labels or ""), group_by, str(leave_out or ""))
    if data is None and not labels:
        raise SqueezekitError("no pictures are named; give a folder with one folder of pictures for each class")
    folder = expanded(data if data is not None else folder_of_labels(curation.labels))
    if not folder.is_dir():
        raise SqueezekitError(f"{folder}: is no folder; give one with one folder of pictures for each class")
    _check_places(folder, out, write_list)
    listing = list_folder(folder, curation)
    pictures, broken = _read(listing, max_pixels)
    path = None if quick else model_path(model or MODEL)
    accuracy, doubtful, shortcuts, notes = _classified(pictures, path, max_pixels) if path else (None, (), (), ())
    sides = np.sort([min(facts.width, facts.height) for facts in pictures.facts]).astype(int)
    findings = Findings(
        data=str(folder),
        pictures=len(pictures.files),
        classes=_counts(pictures),
        sides=(int(sides[0]), int(sides[len(sides) // 2]), int(sides[-1])),
        broken=tuple(broken),
        copies=tuple(_copies(pictures)),
        blank=tuple(each for each, facts in zip(pictures.found, pictures.facts, strict=True) if facts.blank),
        blurred=tuple(each for each, facts in zip(pictures.found, pictures.facts, strict=True) if facts.blurred),
        doubtful=doubtful,
        shortcuts=shortcuts,
        accuracy=accuracy,
        model=str(model or MODEL),
        seconds=round(time.monotonic() - begin, 1),
        notes=(*listing.notes, *notes),
    )
    if write_list is not None:
        atomic_io.write_text(expanded(write_list), "".join(f"{line}\n" for line in findings.lines()))
    if out is not None:
        write_check_page(findings, folder, expanded(out), max_pixels)
    return findings


def _check_places(folder: Path, *places: str | PathLike[str] | None) -> None:
    """Whether each file may be written, before minutes of work."""
    for place in places:
        if place is not None and (expanded(place).is_dir() or not expanded(place).absolute().parent.is_dir()):
            raise SqueezekitError(f"{place}: is no place for a file; name one in a folder that exists")
        if place is not None and expanded(place).resolve().is_relative_to(folder.resolve()):
            raise SqueezekitError(f"{place}: would lie among the pictures; name a file outside of {folder}")


def _read(listing: FolderListing, max_pixels: int) -> tuple[_Pictures, list[tuple[str, str]]]:
    """The pictures, and (path, reason) of what cannot be used; raises SqueezekitError where a class holds none."""
    paths = [os.path.join(listing.root, path) for path in listing.paths]  # noqa: PTH118
    hashes = hash_files(paths)
    opened = [at for at, content_hash in enumerate(hashes) if isinstance(content_hash, bytes)]
    files = [(path, content) for path, content in zip(paths, hashes, strict=True) if isinstance(content, bytes)]
    facts = facts_of_files(files, max_pixels)
    broken = [(os.path.relpath(path, listing.root), reason) for path, reason in listing.left_out]
    broken += [(listing.paths[at], reason) for at, reason in enumerate(hashes) if isinstance(reason, str)]
    broken += [(listing.paths[at], reason) for at, reason in zip(opened, facts, strict=True) if isinstance(reason, str)]
    kept = [number for number, each in enumerate(facts) if not isinstance(each, str)]
    labels = np.array([listing.labels[opened[number]] for number in kept], np.int64)
    for label, name in enumerate(listing.classes):
        if not (labels == label).any():
            raise SqueezekitError(f"class '{name}' in {listing.root} holds no picture that can be read: add some or remove it")
    files = [files[number] for number in kept]
    alike = near_copies_of_files(files, max_pixels)
    near = numbered([alike.get(content, content) for _, content in files])
    places = [opened[number] for number in kept]
    groups = near if listing.groups is None else joined(near, numbered([listing.groups[at] for at in places]))
    found = [
        FoundPicture(listing.paths[at], listing.classes[listing.labels[at]], NAMES[listing.parts[at]] if listing.parts else "")
        for at in places
    ]
    whole = [each for each in facts if not isinstance(each, str)]
    return _Pictures(files, found, whole, labels, near, groups, listing.classes), sorted(broken)


def _counts(pictures: _Pictures) -> dict[str, dict[str, int]]:
    parts = sorted({each.part for each in pictures.found}, key=("train", "val", "test", "").index)
    counts = {name: dict.fromkeys(parts, 0) for name in pictures.classes}
    for each in pictures.found:
        counts[each.label][each.part] += 1
    return counts


def _copies(pictures: _Pictures) -> list[CopyGroup]:
    """Groups of copies, then of near-copies; what goes across parts or classes first, then the largest."""
    contents = numbered([content for _, content in pictures.files])
    groups = []
    for near, numbers in ((False, contents), (True, pictures.near)):
        order = np.argsort(numbers, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(np.unique(contents[members])) > 1 if near else len(members) > 1:
                found = tuple(pictures.found[at] for at in members)
                across = (len({getattr(each, name) for each in found}) > 1 for name in ("label", "part"))
                groups.append(CopyGroup(found, near, *across))
    return sorted(groups, key=lambda group: (group.near, -group.across_parts, -group.across_classes, -len(group.pictures)))


def _classified(
    pictures: _Pictures, model: Path, max_pixels: int
) -> tuple[float | None, tuple[DoubtfulLabel, ...], tuple[Shortcut, ...], tuple[str, ...]]:
    """Accuracy out of fold, doubtful labels, shortcuts, and notes."""
    fewest = min(len(np.unique(pictures.groups[pictures.labels == label])) for label in range(len(pictures.classes)))
    folds = min(FOLDS, fewest)
    if folds < 2:
        return None, (), (), ("labels were not looked at, since a class has pictures of one group alone",)
    fold = divided(pictures.labels, pictures.groups, [1 / folds] * folds, 0)
    features = _features(pictures.files, model, max_pixels)
    with progress_bar("learning classes", folds + len(KINDS) * folds) as advance:
        probabilities = _out_of_fold(features, pictures.labels, fold, advance)
        accuracy = _balanced(probabilities, pictures.labels)
        doubts = label_doubts(pictures.labels, probabilities)
        found = tuple(
            DoubtfulLabel(
                pictures.found[at],
                pictures.classes[likelier],
                round(float(probabilities[at, likelier]), 4),
                round(float(probabilities[at, pictures.labels[at]]), 4),
            )
            for at, likelier in zip(doubts.order[: doubts.count], doubts.likelier, strict=False)
        )
        shortcuts = _shortcuts(pictures, fold, accuracy, advance)
    return round(accuracy, 4), found, shortcuts, ()


def _features(files: Sequence[tuple[str, bytes]], model: Path, max_pixels: int) -> NDArray[np.float32]:
    """What the MODEL sees in each picture, each feature of mean 0 and deviation 1: [n, f]."""
    loaded = load_model(model)
    pooled, size = PooledFeatures(loaded), max(loaded.config.image_size, IMAGE_SIZE)
    blocks = []
    with progress_bar("looking at pictures", len(files)) as advance:
        for pixels, _reasons in decode_files(files, size, loaded.config.channels, max_pixels):
            blocks.append(pooled(pixels))
            advance(len(pixels))
    features = np.concatenate(blocks)
    standardised: NDArray[np.float32] = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    return standardised


def _out_of_fold(
    features: NDArray[np.floating], labels: NDArray[np.int64], fold: NDArray[np.int64], advance: Advance, forest: bool = False
) -> NDArray[np.float64]:
    """Probabilities [n, classes] by models that have not seen the image or its group."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression

    probabilities = np.zeros((len(labels), labels.max() + 1))
    for number in np.unique(fold):
        learnt = fold != number
        trees = ExtraTreesClassifier(100, min_samples_leaf=3, class_weight="balanced", random_state=0)
        model = trees if forest else LogisticRegression(C=STRENGTH, max_iter=300)
        model.fit(features[learnt], labels[learnt])
        probabilities[np.ix_(~learnt, model.classes_)] = model.predict_proba(features[~learnt])
        advance(1)
    return probabilities


def _balanced(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    right = probabilities.argmax(1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def _shortcuts(pictures: _Pictures, fold: NDArray[np.int64], accuracy: float, advance: Advance) -> tuple[Shortcut, ...]:
    """What tells classes apart nearly as well as what the pictures show."""
    guess = 1 / len(pictures.classes)
    found = []
    for what, names in KINDS.items():
        facts = np.array([[getattr(each, name) for name in names] for each in pictures.facts])
        reached = _balanced(_out_of_fold(facts, pictures.labels, fold, advance, forest=True), pictures.labels)
        # Three standard errors above a guess, at least.
        surely = guess + 3 * np.sqrt(guess * (1 - guess) / len(pictures.labels))
        if reached > max(surely, guess + SHORTCUT * (accuracy - guess)):
            found.append(Shortcut(what, round(reached, 4), round(accuracy, 4), round(guess, 4)))
    return tuple(found)
