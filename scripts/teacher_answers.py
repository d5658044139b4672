"""What a teacher answers to every view that training shows, stored for all its students; stopped, it goes on where it was.

    python scripts/teacher_answers.py MODEL IMAGES [--recipe NAME] [--shift SHARE] [--shift-step N] [--out DIR]

MODEL is the teacher, a run folder or a .sqz file, IMAGES what it was trained on. Shifts and mirroring are those of the students'
recipe. Answers lie in the cache folder, where `squeezekit train --teacher MODEL` finds them; --out copies their file, which
serves in the folder `answers` of any other cache.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.data.sources import load_images
from squeezekit.data.splits import Split
from squeezekit.data.views import step_of_about_50_views
from squeezekit.pretrained.files import model_path
from squeezekit.system import atomic_io
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.training.device import chosen_device, chosen_precision
from squeezekit.training.recipe import RECIPES, named_recipe
from squeezekit.training.run_folder import Run
from squeezekit.training.stored_answers import TeacherAnswers, fill
from squeezekit.training.teacher import Teacher, teacher_from, teacher_of
from squeezekit.workflows.fine_tune import starting_point


def main() -> int:
    """Parse, answer, print where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("images", metavar="IMAGES")
    parser.add_argument("--recipe", default="modern", help=f"of the students: {', '.join(RECIPES)} (default modern)")
    parser.add_argument("--shift", type=float, help="furthest shift, as a share of the side (default: the recipe's)")
    parser.add_argument("--shift-step", type=int, default=0, help="pixels between shifts (default: at most 50 views)")
    parser.add_argument("--precision", default="auto", help="that of the students: auto, fp32, bf16 (default auto)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default auto)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a folder to copy the file to")
    given = parser.parse_args()
    try:
        print(_answered(given))
    except (SqueezekitError, RunFailed) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, RunFailed) else 2
    return 0


def _answered(given: argparse.Namespace) -> str:
    """Have every view answered; the result in words."""
    teacher, images, training = _opened(model_path(given.model), given.images)
    recipe = named_recipe(given.recipe)
    if not recipe.augmentation.startswith("shift"):
        raise SqueezekitError(f"--recipe {given.recipe}: shows no shifts, whose answers alone are stored; choose another one")
    shift = recipe.shift if given.shift is None else given.shift
    step = given.shift_step or step_of_about_50_views(round(shift * images.image_size))
    options = {"augmentation": recipe.augmentation, "shift": shift, "shift_step": step, "device": chosen_device(given.device)}
    batches = Batches(images, training, batch_size=1, **options)
    # Students on a CPU read the answers, whatever device gives them.
    precision = chosen_precision(given.precision, torch.device("cpu"))
    answers = TeacherAnswers.kept(teacher, batches, images, precision)
    if answers.file is None:
        raise RunFailed("the answers cannot be kept; nothing is done")
    fill(answers, training)
    file = answers.file
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        atomic_io.write_bytes(given.out / file.name, file.read_bytes())
        file = given.out / file.name
    return f"{file}: {len(training):,} images, {len(batches.grid)} views each, {precision}"


def _opened(model: Path, data: str) -> tuple[Teacher, ImageSet, NDArray[np.int64]]:
    """A teacher, its images, and the indices of those that may train a student; raises SqueezekitError."""
    point = starting_point(model)
    config = point.config
    source = load_images(data, image_size=config.image_size, channels=config.channels)
    images = source.training
    facts = {
        "classes": list(images.classes),
        "fingerprint": images.fingerprint,
        "test_fingerprint": source.test.fingerprint,
    }
    if model.is_dir():
        split = Run(model).split_of(len(images))
        return teacher_of(model, config, facts, split), images, split.training
    validation = point.validation(images) if point.fingerprints else np.zeros(0, np.int64)
    split = Split(np.setdiff1d(np.arange(len(images)), validation), validation)
    return teacher_from(point, config, facts, split, images), images, split.training


if __name__ == "__main__":
    sys.exit(main())
