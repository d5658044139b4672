"""`squeezekit predict`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.shown_text import shown
from squeezekit.system.standard_output import show, show_json

BATCH = 250


def add_arguments(parser: Parser) -> None:
    """The flags of `predict`."""
    parser.explain(
        "predict digits-nano examples/three.png",
        "predict digits-nano examples --top 3 --json",
        usage="MODEL PICTURE … [--top N] [--max-pixels N] [--json]",
    )
    parser.add_model()
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="picture files, or folders of them")
    parser.add_argument("--top", metavar="N", type=int, help="show the N most probable classes (default 1)")
    parser.add_argument("--max-pixels", metavar="N", type=int, help="pixels that a picture may have (default 100 million)")
    parser.add_json("print one JSON object a picture, each on a line")
    parser.set_defaults(run=run)


def run(*, model: str, pictures: list[str], top: int = 1, max_pixels: int | None = None, json: bool = False) -> int:
    """Classify every picture that can be read; 1 when some cannot."""
    from squeezekit import Classifier
    from squeezekit.data.image_file import MOST_PIXELS

    max_pixels = MOST_PIXELS if max_pixels is None else max_pixels
    for flag, number in (("--top", top), ("--max-pixels", max_pixels)):
        if number < 1:
            raise SqueezekitError(f"{flag} {number}: must be at least 1")
    classifier = Classifier.load(model)
    paths: list[str] = []
    failed = False
    for name in pictures:
        found, complete = _files(name)
        failed = failed or not complete
        paths += found
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        answered = 0
        for path, prediction in _classified(classifier, batch, max_pixels):
            answered += 1
            _print(path, prediction, top, json)
        failed = failed or answered < len(batch)
    return 1 if failed else 0


def _classified(classifier: Any, paths: list[str], max_pixels: int) -> Iterator[tuple[str, Any]]:
    """Each picture that can be read, with its prediction."""
    from squeezekit.data.image_file import read_image

    image_size, channels = classifier.config.image_size, classifier.config.channels
    readable, pixels = [], []
    for path in paths:
        try:
            pixels.append(read_image(path, image_size, channels, max_pixels=max_pixels))
            readable.append(path)
        except SqueezekitError as error:
            say(str(error))
    return zip(readable, classifier.classify(pixels), strict=True)


def _print(path: str, prediction: Any, top: int, json: bool) -> None:
    best = prediction.probabilities[:top]
    if json:
        ranked = [{"label": label, "probability": p} for label, p in best]
        show_json({"path": _valid(path), **ranked[0], "unsure": prediction.unsure, "known": prediction.known, "top": ranked})
    else:
        remark = "" if prediction.known else "none of these; nearest "
        remark = remark or ("unsure, perhaps " if prediction.unsure else "")
        show(f"{path}: {remark}" + ", ".join(f"{label} {p:.1%}" for label, p in best))


def _valid(path: str) -> str:
    # Bytes that are not UTF-8 cannot be in JSON; any other name is as it is.
    try:
        path.encode()
    except UnicodeEncodeError:
        return shown(path)
    return path


def _files(name: str) -> tuple[list[str], bool]:
    """A file itself; of a folder, every picture in it and below, and whether nothing was left out."""
    from squeezekit.data.image_file import IMAGE_SUFFIXES
    from squeezekit.data.picture_files import lines_about, list_pictures

    if not os.path.isdir(name):  # noqa: PTH112 (a name that is too long is no error)
        return [name], True
    found = list_pictures(name)
    for line in lines_about(found.left_out):
        say(line)
    if not found.files and not found.left_out:
        say(f"{name}: holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
    return [file.path for file in found.files], bool(found.files) and not found.left_out
