"""`squeezekit predict`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.standard_output import show, show_json

BATCH = 250


def add_arguments(parser: Parser) -> None:
    """The flags of `predict`."""
    parser.explain(
        "predict digits-nano examples/three.png",
        "predict digits-nano examples --top 3 --json",
        usage="MODEL PICTURE … [--top N] [--json]",
    )
    parser.add_model()
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="picture files, or folders of them")
    parser.add_argument("--top", metavar="N", type=int, help="show the N most probable classes (default 1)")
    parser.add_json("print one JSON object a picture, each on a line")
    parser.set_defaults(run=run)


def run(*, model: str, pictures: list[str], top: int = 1, json: bool = False) -> int:
    """Classify every picture that can be read; 1 when some cannot."""
    from squeezekit import Classifier
    from squeezekit.data.image_file import IMAGE_SUFFIXES

    if top < 1:
        raise SqueezekitError(f"--top {top}: must be at least 1")
    classifier = Classifier.load(model)
    paths: list[Path] = []
    failed = False
    for name in pictures:
        found = _files(name, IMAGE_SUFFIXES)
        if not found:
            failed = True
            say(f"{name}: holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
        paths += found
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        answered = 0
        for path, prediction in _classified(classifier, batch):
            answered += 1
            _print(path, prediction, top, json)
        failed = failed or answered < len(batch)
    return 1 if failed else 0


def _classified(classifier: Any, paths: list[Path]) -> Iterator[tuple[Path, Any]]:
    """Each picture that can be read, with its prediction."""
    from squeezekit.data.image_file import read_image

    readable, pixels = [], []
    for path in paths:
        try:
            pixels.append(read_image(path, classifier.config.image_size, classifier.config.channels))
            readable.append(path)
        except SqueezekitError as error:
            say(str(error))
    return zip(readable, classifier.classify(pixels), strict=True)


def _print(path: Path, prediction: Any, top: int, json: bool) -> None:
    best = prediction.probabilities[:top]
    if json:
        ranked = [{"label": label, "probability": p} for label, p in best]
        show_json({"path": str(path), **ranked[0], "unsure": prediction.unsure, "top": ranked})
    else:
        unsure = "unsure, perhaps " if prediction.unsure else ""
        show(f"{path}: {unsure}" + ", ".join(f"{label} {p:.1%}" for label, p in best))


def _files(name: str, suffixes: tuple[str, ...]) -> list[Path]:
    """A file itself; of a folder, every picture in it and below."""
    if not Path(name).is_dir():
        return [Path(name)]
    tree = ((Path(folder), files) for folder, _, files in os.walk(name))
    return sorted(folder / file for folder, files in tree for file in files if file.lower().endswith(suffixes))
