"""Trains the networks of the frontier on all 45,000 images and adds what each reaches to docs/runs/frontier.

    python scripts/frontier_rows.py IMAGES --out OUT [--names NAME …] [--epochs E] [--teacher MODEL] [--seed N]

IMAGES is a folder with train/<class>/… and test/<class>/…. No training image validates: epochs are fixed beforehand, and the test
images are measured once a run, without test-time augmentation. What is done is not done again, and what was stopped goes on with
the same command. Of our networks the weights of the longest training are kept too, in float16, for compression:
docs/runs/frontier/NAME.safetensors. With --teacher its answers are learnt, those that scripts/teacher_answers.py has stored with
the same --shift-step.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from frontier import RUNS, drawn_anew, rows_of
from model_cards import commit, share_of_official
from safetensors.torch import save_file

from squeezekit import train
from squeezekit.inference.evaluation import evaluate_model
from squeezekit.inference.model import load_model
from squeezekit.networks.layer_table import layer_table
from squeezekit.training.run_folder import Run

OURS = ("fire-pico", "fire-nano", "fire-tiny", "fire-small", "fire-best")
OTHERS = ("resnet8", "resnet20", "mobilenetv2_050", "shufflenetv2_050", "xvel-tiniest")


def measured(folder: Path, images: Path, command: str) -> dict[str, Any]:
    """The row of a finished run."""
    run = Run(folder)
    evaluation, table = evaluate_model(load_model(folder), images, "test"), layer_table(run.config.network.folded())
    right = evaluation.probabilities.argmax(1) == evaluation.images.labels
    summary = run.summary or {}
    return {
        "network": run.config.network.name,
        "macs": table.macs,
        "parameters": table.parameters,
        "accuracy": round(float(right.mean()), 5),
        "official": share_of_official(right, images),
        "epochs": summary["epochs"],
        "seed": run.config.run.seed,
        "teacher": bool(run.config.run.teacher),
        "precision": summary["precision"],
        "images_per_s": summary["images_per_s"],
        "seconds": summary["seconds"],
        "command": command,
        "commit": commit(),
    }


def keep_weights(folder: Path, file: Path) -> None:
    """A run's weights in float16."""
    run = Run(folder)
    state = run.network().state_dict()
    tensors = {name: (each.half() if each.is_floating_point() else each).contiguous() for name, each in state.items()}
    save_file(tensors, file, {"squeezekit": run.config.network.model_dump_json()})


def main() -> None:
    """Parse, train what is missing, print its rows, draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", metavar="IMAGES", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="where the runs are kept")
    parser.add_argument("--names", nargs="+", default=[*OURS], choices=(*OURS, *OTHERS, "fast"), metavar="NAME")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teacher", type=Path, metavar="MODEL", help="a run or a .sqz file")
    parser.add_argument("--shift-step", type=int, default=2, help="pixels between shifts that a teacher has answered (default 2)")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or auto (default fp32)")
    given = parser.parse_args()
    fields: dict[str, Any] = {"recipe": "fast", "validation_share": 0, "test": False}
    fields |= {"epochs": given.epochs, "seed": given.seed, "precision": given.precision}
    if given.teacher:
        fields |= {"teacher": str(given.teacher), "shift_step": given.shift_step}
    for name in given.names:
        folder = given.out / f"{name}-{given.epochs}-seed-{given.seed}{'-taught' if given.teacher else ''}"
        rows = rows_of("rows.jsonl")
        if any(row.get("run") == folder.name for row in rows):
            continue
        train(given.images, network=name, out=folder, resume=True, **fields)
        row = {"run": folder.name, **measured(folder, given.images, shlex.join(["python", *sys.argv]))}
        if name not in OTHERS and given.epochs > max((row["epochs"] for row in rows if row["network"] == name), default=0):
            keep_weights(folder, RUNS / f"{name}.safetensors")
        with (RUNS / "rows.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    drawn_anew()


if __name__ == "__main__":
    main()
