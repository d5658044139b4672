"""`squeezekit predict`."""

from __future__ import annotations

import argparse
import json as jsonlib
import os
from pathlib import Path

from squeezekit.data.image_file import IMAGE_SUFFIXES, read_image
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError

BATCH = 250


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `predict`."""
    parser.epilog = """examples:
  squeezekit predict runs/photos cat.jpg dog.png --top 3
  squeezekit predict cifar10-tiny cat.jpg
  squeezekit predict photos.sqz holiday/ --json"""
    parser.add_argument("model", metavar="MODEL", help="a run folder, a .sqz or an .onnx file, or a name in squeezekit models")
    parser.add_argument("pictures", metavar="PICTURE", nargs="+", help="picture files, or folders of them")
    parser.add_argument("--top", metavar="N", type=int, help="show the N most probable classes (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.set_defaults(run=run)


def run(*, model: str, pictures: list[str], top: int = 1, json: bool = False) -> int:
    """Classify every picture that can be read; 1 when some cannot."""
    from squeezekit.inference.classifier import Classifier

    if top < 1:
        raise SqueezekitError(f"--top {top}: must be at least 1")
    classifier = Classifier.load(model)
    config = classifier.config
    paths, unreadable = [], 0
    for name in pictures:
        found = _files(name)
        if not found:
            unreadable += 1
            say(f"{name}: holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
        paths += found
    for start in range(0, len(paths), BATCH):
        readable, pixels = [], []
        for path in paths[start : start + BATCH]:
            try:
                pixels.append(read_image(path, config.image_size, config.channels))
                readable.append(path)
            except SqueezekitError as error:
                unreadable += 1
                say(str(error))
        for path, prediction in zip(readable, classifier.classify(pixels), strict=True):
            best = prediction.probabilities[:top]
            if json:
                ranked = [{"label": label, "probability": p} for label, p in best]
                print(jsonlib.dumps({"path": str(path), **ranked[0], "unsure": prediction.unsure, "top": ranked}))
            else:
                unsure = "unsure, perhaps " if prediction.unsure else ""
                print(f"{path}: {unsure}" + ", ".join(f"{label} {p:.1%}" for label, p in best))
    return 1 if unreadable else 0


def _files(name: str) -> list[Path]:
    """A file itself; of a folder, every picture in it and below."""
    if not Path(name).is_dir():
        return [Path(name)]
    tree = ((Path(folder), files) for folder, _, files in os.walk(name))
    return sorted(folder / file for folder, files in tree for file in files if file.lower().endswith(IMAGE_SUFFIXES))
