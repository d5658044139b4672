"""`squeezekit evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.standard_output import show, show_json, show_table


def add_arguments(parser: Parser) -> None:
    """The flags of `evaluate`."""
    parser.explain(
        "evaluate digits-nano --data digits",
        "evaluate runs/digits --pictures pictures",
        usage="MODEL [--data DATA] [settings]",
    )
    parser.add_model()
    parser.add_argument(
        "--data", metavar="DATA", help="images to measure, of the same classes (default: those of the run; a file needs it)"
    )
    parser.add_argument("--labels", metavar="FILE", help="CSV or JSON-lines file with the labels of --data")
    parser.add_argument("--group-by", metavar="NAME", help="what belongs together in --data, as for train")
    parser.add_argument("--leave-out", metavar="FILE", help="list of pictures of --data to leave out")
    parser.add_argument("--split", choices=("test", "validation"), help="which images (default test)")
    parser.add_argument("--pictures", metavar="DIR", help="draw confusion.png and mistakes.png into this folder")
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="also measure up to 2,000 test images with blur, noise, low contrast and JPEG compression",
    )
    parser.add_argument(
        "--foreign",
        metavar="FOLDER",
        action="append",
        help="also measure how many pictures of this folder, of none of the classes, are turned away; as often as wanted",
    )
    parser.add_json()
    parser.set_defaults(run=run)


def run(
    *,
    model: str,
    json: bool = False,
    pictures: str | None = None,
    robustness: bool = False,
    foreign: Sequence[str] = (),
    **options: Any,
) -> int:
    """Evaluate, print the result."""
    import squeezekit as sk
    from squeezekit.inference.foreign_images import foreign_images
    from squeezekit.inference.robustness import robustness as on_corrupted

    if robustness and options.get("split") == "validation":
        raise SqueezekitError("--robustness measures test images; leave out --split validation")
    if foreign and options.get("split") == "validation":
        raise SqueezekitError("--foreign measures test images; leave out --split validation")
    # First: a model without such a rule need not be evaluated.
    turned_away = foreign_images(model, [expanded(folder) for folder in foreign], options.get("data")) if foreign else None
    evaluation = sk.evaluate(model, **options)
    corrupted = on_corrupted(model, options.get("data")) if robustness else []
    if json:
        more: dict[str, Any] = {"robustness": [vars(each) for each in corrupted]} if corrupted else {}
        show_json(evaluation.as_json() | more | ({"none_of_these": asdict(turned_away)} if turned_away else {}))
    else:
        _print(evaluation, corrupted)
        if turned_away:
            _print_turned_away(turned_away)
    # What is drawn or not, the numbers have been printed.
    if pictures:
        _draw(evaluation, expanded(pictures))
    return 0


def _print(evaluation: Any, corrupted: Sequence[Any]) -> None:
    shares = ("precision", "recall", "f1")
    rows = [[name, *(f"{row[share]:.3f}" for share in shares), str(row["images"])] for name, row in evaluation.per_class.items()]
    show_table(["class", *shares, "images"], rows, folds=["class"])
    show(
        f"accuracy {evaluation.accuracy:.2%} (balanced {evaluation.balanced_accuracy:.2%}, top-5 "
        f"{evaluation.top5_accuracy:.2%}), loss {evaluation.loss:.4f}, calibration error "
        f"{evaluation.calibration_error:.4f}, {len(evaluation.images)} images"
    )
    for each in corrupted:
        show(f"{each.kind:<10} {each.strength:>5g}  accuracy {each.accuracy:.2%} of {each.images} images")


def _print_turned_away(found: Any) -> None:
    show(f"of its own test images {_with_interval(found.kept)} are known")
    for each in found.foreign:
        unreadable = f"; {each.unreadable} cannot be read" if each.unreadable else ""
        show(
            f"{each.folder}: {_with_interval(each.turned_away)} are none of these (by the softmax threshold that keeps as many "
            f"of its own: {each.by_softmax.share:.1%}){unreadable}"
        )


def _with_interval(found: Any) -> str:
    return f"{found.share:.1%} of {found.images} ({found.low:.1%} to {found.high:.1%})"


def _draw(evaluation: Any, folder: Path) -> None:
    from squeezekit.reporting.figures import draw_confusion, draw_mistakes, drawn_here

    drawn = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in (("confusion.png", draw_confusion), ("mistakes.png", draw_mistakes)):
            if not drawn_here(folder / name):
                raise RunFailed(f"{folder / name}: is a file that evaluate has not made; choose another folder for --pictures")
            drawn.append(str(draw(evaluation, folder / name)))
    except OSError as error:
        raise RunFailed(f"{folder}: no pictures can be written there ({error.strerror}); choose another --pictures") from None
    say("pictures in " + ", ".join(drawn))
