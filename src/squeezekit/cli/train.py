"""`squeezekit train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from squeezekit.cli.amounts import amount
from squeezekit.cli.parser import Parser
from squeezekit.cli.settings_flags import add_settings
from squeezekit.system.console import say
from squeezekit.system.standard_output import show, show_json

UNEVEN = 1.5


def add_arguments(parser: Parser) -> None:
    """The flags of `train`."""
    parser.explain(
        "train --data digits -o runs/digits",
        "train --data digits --init-from digits-nano --epochs 5 -o runs/tuned",
        usage="--data DATA [-o RUN] [settings]",
    )
    add_settings(parser, leave={"test"})
    parser.add_argument(
        "--init-from",
        metavar="MODEL",
        help="start from the weights of a run folder, a .sqz file, a pretrained model, or a .safetensors or .pth file",
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="train for about so long: as many epochs as fit")
    parser.add_argument("--max-bytes", type=amount, metavar="N", help="of photos: a network for a file of N bytes (default 150k)")
    parser.add_argument("--max-macs", type=amount, metavar="N", help="of photos: a network of at most N multiply-adds an image")
    parser.add_argument("--max-ram", type=amount, metavar="N", help="of photos: one whose feature maps take N bytes of RAM as C")
    parser.add_out("RUN", "run folder to write (default runs/DATE-TIME)", required=False)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out where it stopped; start it if missing")
    parser.add_argument("--no-test", dest="test", action="store_false", help="do not measure the test images at the end")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, json: bool = False, **settings: Any) -> int:
    """Train, print the result, draw the curves."""
    import squeezekit as sk
    from squeezekit.training.distributed import rank

    finished = sk.train(settings.pop("data", None), **settings)
    if rank() > 0:
        return 0
    summary = finished.summary or {}
    if json:
        show_json(summary)
    else:
        _show(summary, finished.folder)
    _draw(finished.folder)
    return 0


def _show(summary: dict[str, Any], folder: Path) -> None:
    # Where a class has half as many images again as another one, accuracy says little about the small ones.
    counts = summary.get("class_images") or [1]
    uneven = max(counts) > UNEVEN * min(counts)
    for part in ("validation", "test"):
        if found := summary.get(part):
            # A run of version 0.1 does not say how many.
            images = f" of {found['images']:,} images" if found.get("images") else ""
            balanced = f"  balanced accuracy {found['balanced_accuracy']:.2%}" if uneven else ""
            show(f"{part:<10}  accuracy {found['accuracy']:.2%}{images}{balanced}  loss {found['loss']:.4f}")
    show(f"{'parameters':<10}  {summary['parameters']:,}")
    show(f"{'epochs':<10}  {summary['epochs']} in {summary['seconds']:.0f} s, {summary['images_per_s']:.0f} images/s")
    show(f"{'run':<10}  {folder}")


def _draw(folder: Path) -> None:
    """The curves, which are no reason to call a training failed."""
    from squeezekit.reporting.figures import draw_curves
    from squeezekit.training.run_folder import as_argument

    following = f"next: {shlex.join(['squeezekit', 'evaluate', as_argument(folder)])}"
    try:
        say(f"curves in {draw_curves(folder)}; {following}")
    except Exception as error:
        say(f"no curves ({error}); {following}")
