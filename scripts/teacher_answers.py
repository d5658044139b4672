"""What a teacher answers to every view that training shows, stored for all its students; stopped, it goes on where it was.

    python scripts/teacher_answers.py RUN IMAGES [--recipe NAME] [--shift SHARE] [--shift-step N] [--out DIR]

RUN is the teacher's run folder, IMAGES what it was trained on. Shifts and mirroring are those of the students' recipe. Answers
lie in the cache folder, where `squeezekit train --teacher RUN` finds them; --out copies their file, which serves in the folder
`answers` of any other cache.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from squeezekit.data.batches import Batches
from squeezekit.data.views import step_of_about_50_views
from squeezekit.system import atomic_io
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.training.device import chosen_device, chosen_precision
from squeezekit.training.recipe import RECIPES, named_recipe
from squeezekit.training.run_folder import Run
from squeezekit.training.stored_answers import TeacherAnswers, fill
from squeezekit.training.teacher import teacher_of
from squeezekit.training.train import images_of


def main() -> int:
    """Parse, answer, print where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path)
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
    run = Run(given.run)
    settings = run.config.run.model_copy(update={"data": given.images})
    images = images_of(run.config.model_copy(update={"run": settings})).training
    if images.fingerprint != run.fingerprints[0]:
        raise SqueezekitError(f"{given.images}: not the images that {run.folder} was trained on; name those")
    recipe = named_recipe(given.recipe)
    shift = recipe.shift if given.shift is None else given.shift
    step = given.shift_step or step_of_about_50_views(round(shift * images.image_size))
    device, split = chosen_device(given.device), run.split_of(len(images))
    options = {"augmentation": recipe.augmentation, "shift": shift, "shift_step": step, "device": device}
    batches = Batches(images, split.training, batch_size=1, **options)
    # Its students' images are normalized from pixels for it.
    teacher = teacher_of(run.folder, run.config.network, run.data, split)
    # Students of a CPU read the answers, whatever device gives them.
    precision = chosen_precision(given.precision, torch.device("cpu"))
    answers = TeacherAnswers.kept(teacher, batches, images, precision)
    if answers.file is None:
        raise RunFailed("the answers cannot be kept; nothing is done")
    fill(answers, split.training)
    file = answers.file
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        atomic_io.write_bytes(given.out / file.name, file.read_bytes())
        file = given.out / file.name
    return f"{file}: {len(split.training):,} images, {len(batches.grid)} views each, {precision}"


if __name__ == "__main__":
    sys.exit(main())
