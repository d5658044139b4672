"""`squeezekit evaluate`."""

from __future__ import annotations

import argparse
import json as jsonlib
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `evaluate`."""
    parser.epilog = """examples:
  squeezekit evaluate runs/digits
  squeezekit evaluate runs/photos --split validation --json
  squeezekit evaluate photos.sqz --data photos/ --robustness"""
    parser.add_argument("model", metavar="MODEL", help="a run folder, a .sqz or an .onnx file, or a name in squeezekit models")
    parser.add_argument(
        "--data", metavar="DATA", help="other images than those of the run, with the same classes; a file needs it"
    )
    parser.add_argument("--split", choices=("test", "validation"), help="which images (default test)")
    parser.add_argument(
        "--pictures", metavar="DIR", help="where the two pictures go (default: the run folder, or beside the file)"
    )
    parser.add_argument(
        "--robustness", action="store_true", help="also on up to 2,000 test images that are blurred, noisy, pale or compressed"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(*, model: str, json: bool = False, pictures: str | None = None, robustness: bool = False, **options: str) -> int:
    """Evaluate, draw confusion matrix and mistakes, print the result."""
    from squeezekit.inference.evaluation import evaluate
    from squeezekit.inference.robustness import robustness as on_corrupted
    from squeezekit.reporting.figures import draw_confusion, draw_mistakes

    if robustness and options.get("split") == "validation":
        raise SqueezekitError("--robustness corrupts test images; leave out --split validation")
    evaluation = evaluate(model, **options)  # type: ignore[arg-type]
    place = Path(model).expanduser()
    folder = Path(pictures).expanduser() if pictures else place if place.is_dir() else place.parent
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [draw_confusion(evaluation, folder / "confusion.png"), draw_mistakes(evaluation, folder / "mistakes.png")]
    say("pictures in " + ", ".join(str(path) for path in drawn))
    corrupted = on_corrupted(model, options.get("data")) if robustness else []
    if json:
        print(jsonlib.dumps(evaluation.as_json() | ({"robustness": [vars(each) for each in corrupted]} if corrupted else {})))
        return 0
    table = Table("class", *(("precision", "recall", "f1", "images")))
    for name, row in evaluation.per_class.items():
        table.add_row(escape(name), *(f"{row[k]:.3f}" for k in ("precision", "recall", "f1")), str(row["images"]))
    Console(highlight=False).print(table)
    print(
        f"accuracy {evaluation.accuracy:.2%} (balanced {evaluation.balanced_accuracy:.2%}, top-5 "
        f"{evaluation.top5_accuracy:.2%}), loss {evaluation.loss:.4f}, calibration error "
        f"{evaluation.calibration_error:.4f}, {len(evaluation.images)} images"
    )
    for each in corrupted:
        print(f"{each.kind:<10} {each.strength:>5g}  accuracy {each.accuracy:.2%} of {each.images} images")
    return 0
