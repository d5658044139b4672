"""`squeezekit train`."""

from __future__ import annotations

from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.cli.settings_flags import add_settings
from squeezekit.system.console import say
from squeezekit.system.standard_output import show, show_json


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
    parser.add_out("RUN", "run folder to write (default runs/DATE-TIME)", required=False)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out where it stopped; start it if missing")
    parser.add_argument("--no-test", dest="test", action="store_false", help="do not measure the test images at the end")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, json: bool = False, **settings: Any) -> int:
    """Train, draw the curves, print the result."""
    import squeezekit as sk
    from squeezekit.reporting.figures import draw_curves
    from squeezekit.training.distributed import rank

    finished = sk.train(settings.pop("data", None), **settings)
    if rank() > 0:
        return 0
    curves = draw_curves(finished.folder)
    summary = finished.summary or {}
    if json:
        show_json(summary)
        return 0
    for part in ("validation", "test"):
        if part in summary:
            show(f"{part:<10}  accuracy {summary[part]['accuracy']:.2%}  loss {summary[part]['loss']:.4f}")
    show(f"{'parameters':<10}  {summary['parameters']:,}")
    show(f"{'epochs':<10}  {summary['epochs']} in {summary['seconds']:.0f} s, {summary['images_per_s']:.0f} images/s")
    show(f"{'run':<10}  {finished.folder}")
    say(f"curves in {curves}; next: squeezekit evaluate {finished.folder}")
    return 0
