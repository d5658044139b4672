"""A card for each pretrained model: numbers as JSON, pictures, and the page that shows them.

    python scripts/model_cards.py IMAGES --runs OUT [--names cifar10-nano …] [--speeds FILE] [--limit N] [--pages FOLDER]

IMAGES is what scripts/train_pretrained.sh was given, OUT its runs. What has been measured (NAME.json among the pages)
is not measured again; all of it but robustness is measured in integers, as C computes.
--speeds is what benchmarks/inference.py printed for each network, one after the other, with `"model": NAME` in its lines. Their
table is written too, with who answers the same, as benchmarks/equal_answers.py has printed it to docs/runs/models/answers.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray

from squeezekit.export.c.export import export_c
from squeezekit.inference.evaluation import Evaluation, evaluate_model
from squeezekit.inference.foreign_images import Share
from squeezekit.inference.int8_model import in_int8, integer_plan
from squeezekit.inference.known_images import KnownImages
from squeezekit.inference.model import Model, load_model
from squeezekit.inference.robustness import robustness
from squeezekit.modelfile.inspection import inspect
from squeezekit.pretrained.facts import facts
from squeezekit.pretrained.files import model_path, pretrained_names
from squeezekit.reporting.figures import draw_confusion, draw_curves
from squeezekit.system import atomic_io

TEMPLATE = Path(__file__).parent / "model_card.md.jinja"
# The run that a network was compressed from.
RUNS = {
    "cifar10-pico": "fire-pico",
    "cifar10-nano": "fire-nano",
    "cifar10-tiny": "fire-tiny",
    "cifar10-small": "fast",
    "digits-nano": "digits",
    **{name: f"{name}-run" for name in ("photo-s", "photo-l")},
}
NUMBERS = Path(__file__).parent.parent / "docs" / "runs" / "models"
# What makes a file like it, by the first part of its name; from elsewhere the recipe is `modern`.
SCRIPTS = {
    "cifar10": "scripts/train_pretrained.sh IMAGES OUT",
    "digits": "scripts/train_pretrained.sh IMAGES OUT",
    "photo": "python scripts/photo_models.py PHOTOS --out OUT --classes IMAGES",
}
USE = {
    "cifar10": "Telling ten kinds of animals and vehicles apart on small pictures: for teaching, for demonstrations, as a load "
    "for hardware and compilers, and to start training from. Many pictures of other things are turned away (none of these), "
    "others get one of its ten classes.",
    "digits": "Telling handwritten digits apart, for tests and demonstrations on the smallest machines.",
    "photo": "To start from: `squeezekit train --data PHOTOS` chooses it for photos of your own, whose classes take the place of "
    "these.",
}
DATA = {
    "cifar10": "CIFAR-10 (6,000 lossless test images): the original pixels of CIFAR-10 (Krizhevsky, 2009). 45,000 of its "
    "training images trained; 5,000 others of them and 1,000 of its official test images are the test.",
    "digits": "scikit-learn's 1,797 handwritten digits of 8 × 8 grey levels, resized to 32 × 32.",
    "photo": "Without labels, crops of photos of Caltech-101 (Li et al., 2003; CC BY 4.0) without twenty classes, kept to judge "
    "by, and of imagenette (Howard, 2019), ten classes of ImageNet, whose photos are for research only, without ImageNet's own "
    "validation photos. It began from, and learnt the features of, ImageNet's SqueezeNet v1.0 as its authors published it ([BSD "
    "license](../../../src/squeezekit/pretrained/models/photo.LICENSE)). Classes and test photos are those of Caltech-101.",
}
# Of the recipe, what a card shows.
SHOWN = ("optimizer", "learning_rate", "batch_size", "epochs", "cutout", "shift", "label_smoothing", "temperature", "precision")


def commit() -> str:
    """Of this working tree, short."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def official(images: Path) -> NDArray[np.bool_]:
    """Which of the test images are of the official test part, in the order in which folders are read."""
    classes = sorted(path for path in (images / "test").iterdir() if path.is_dir())
    return np.array([file.name.startswith("official-") for place in classes for file in sorted(place.iterdir())])


def share_of_official(right: NDArray[np.bool_], images: Path) -> float | None:
    """The accuracy on the official test images, where there are such, of answers that are right or wrong."""
    chosen = official(images)
    return round(float(right[chosen].mean()), 5) if chosen.any() else None


def interval(right: NDArray[np.bool_]) -> list[float]:
    """The 95 % interval of an accuracy."""
    share = Share.of(right)
    return [round(share.low, 5), round(share.high, 5)]


def share_of_known(model: Model, evaluation: Evaluation) -> float | None:
    """How many of the test images the rule for none of these keeps, None where a file has none."""
    if model.none_of_these is None:
        return None
    known = KnownImages(model)(evaluation.images.images, torch.from_numpy(evaluation.probabilities).log())
    return round(float(known.mean()), 4)


def in_c(name: str) -> dict[str, int]:
    """What the network takes as C, in bytes."""
    with tempfile.TemporaryDirectory() as place:
        made = export_c(name, Path(place) / "c")
        sparse = export_c(name, Path(place) / "sparse", store_weights="sparse")
    sizes = {"constants": made.constants, "variables": made.variables, "activations": made.activations}
    return {**sizes, "sparse_constants": sparse.constants}


def measured(name: str, images: str, run: Path, folder: Path, limit: int) -> dict[str, Any]:
    """Every number of a card; draws its pictures."""
    data = "digits" if name.startswith("digits") else images
    model, looked = load_model(model_path(name)), inspect(model_path(name))
    evaluation = evaluate_model(in_int8(model, integer_plan(model)), data, "test")
    draw_confusion(evaluation, folder / f"{name}-confusion.png")
    shutil.copy(draw_curves(run), folder / f"{name}-curves.png")
    kept = ("accuracy", "loss", "calibration_error", "per_class", "images")
    found = {k: v for k, v in evaluation.as_json().items() if k in kept}
    right = evaluation.probabilities.argmax(1) == evaluation.images.labels
    config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    with (run / "metrics.csv").open() as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    return {
        **facts(name).as_json(),
        "test": {**found, "interval": interval(right)},
        "official": share_of_official(right, Path(images)) if data == images else None,
        "in_integers": True,
        "known": share_of_known(model, evaluation),
        "validation": looked.provenance.accuracy if looked.provenance else {},
        "stages": [stage.model_dump() for stage in looked.stages],
        "confidence": looked.probability_calibration and looked.probability_calibration.model_dump(),
        "robustness": [vars(row) for row in robustness(name, data, limit)],
        "c": in_c(name),
        "recipe": {field: config["recipe"][field] for field in SHOWN},
        "network": {k: v for k, v in config["network"].items() if k not in ("mean", "std", "classes", "channels", "name")},
        "seconds": seconds,
        "device": config["run"]["device"],
        "teacher": bool(config["run"]["teacher"]),
    }


def page(card: dict[str, Any], speeds: list[dict[str, Any]], about: str) -> str:
    """Markdown."""
    kind = card["name"].partition("-")[0]
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    recipe, script = {"photo": "fine-tune", "cifar10": "fast"}.get(kind, "modern"), SCRIPTS[kind]
    own = {"about": about, "use": USE[kind], "about_data": DATA[kind], "recipe_name": recipe, "script": script}
    return template.render(**card, **own, speeds=speeds)


def table(cards: Sequence[dict[str, Any]]) -> str:
    """All models, in Markdown."""
    lines = ["| model | bytes | top-1 | 95 % interval | RAM for maps | MACs | parameters | data |", "|---|" + "---|" * 7]
    for card in cards:
        test, name = card["test"], card["name"]
        share = f"{test['accuracy']:.2%} | {test['interval'][0]:.1%} to {test['interval'][1]:.1%}"
        numbers = f"{card['c']['activations']:,} | {card['macs'] / 1e6:.1f} M | {card['parameters']:,}"
        lines.append(f"| [`{name}`]({name}.md) | {card['bytes']:,} | {share} | {numbers} | {card['data']} |")
    return "\n".join(lines)


def answers_table(rows: Sequence[dict[str, Any]]) -> str:
    """Who differs from Python's integers, in Markdown: pictures with other logits, of so many."""
    who = list(rows[0]["others"]) if rows else []
    lines = [f"| model | {' | '.join(who)} | ONNX int8: other labels | its largest difference of a logit |"]
    lines.append("|---|" + "---|" * (len(who) + 2))
    for row in rows:
        each = [f"{found['other_logits']:,} of {found['pictures']:,}" for found in row["others"].values()]
        onnx = f"{row['onnx']['other_labels']:,} of {row['pictures']:,} | {row['onnx']['largest_difference']}"
        lines.append(f"| `{row['model']}` | {' | '.join(each)} | {onnx} |")
    return "\n".join(lines)


def overview(pages: Path) -> str:
    """The page of all cards."""
    cards = [json.loads((pages / f"{name}.json").read_text(encoding="utf-8")) for name in pretrained_names()]
    answers = [json.loads(line) for line in (NUMBERS / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    text = (NUMBERS / "page.md").read_text(encoding="utf-8")
    return text.replace("{table}", table(cards)).replace("{answers}", answers_table(answers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=pretrained_names())
    parser.add_argument("--speeds", type=Path)
    parser.add_argument("--pages", type=Path, default=Path("docs/results/models"))
    parser.add_argument("--limit", type=int, default=2000, help="test pictures to corrupt")
    given = parser.parse_args()
    given.pages.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in given.speeds.read_text().splitlines()] if given.speeds else []
    abouts = json.loads((given.pages / "about.json").read_text(encoding="utf-8"))
    for name in given.names:
        place = given.pages / f"{name}.json"
        if not place.exists():
            numbers = measured(name, given.images, given.runs / RUNS[name], given.pages, given.limit)
            numbers |= {"commit": commit()}
            atomic_io.write_text(place, json.dumps(numbers, indent=1) + "\n")
        card = json.loads(place.read_text(encoding="utf-8"))
        own = [line for line in lines if line["model"] == name and "ratio" in line]
        atomic_io.write_text(given.pages / f"{name}.md", page(card, own, abouts[name]))
        print(f"{name}: {card['bytes']:,} bytes, test accuracy {card['test']['accuracy']:.4f}", flush=True)
    atomic_io.write_text(given.pages / "README.md", overview(given.pages))
