"""`squeezekit compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squeezekit.cli.amounts import amount
from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.standard_output import show, show_json


def add_arguments(parser: Parser) -> None:
    """The flags of `compress`."""
    parser.explain(
        "compress runs/digits -o digits.sqz",
        "compress runs/digits --max-bytes 30000 -o digits-small.sqz",
        usage="RUN -o FILE [--max-bytes N] [settings]",
    )
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a finished run")
    parser.add_out("FILE", ".sqz file to write")
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="target: lose at most so many percentage points of validation accuracy (default 0.5, none with --max-bytes)",
    )
    parser.add_argument(
        "--max-bytes", type=amount, metavar="N", help="target: a file of at most N bytes, as accurate as that allows"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="epochs of a round of quantisation-aware training (default 4; 400 steps for small data sets)",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="be done after about M minutes (default 5, longer for large sets); 0: post-training quantisation only",
    )
    parser.add_argument(
        "--delta-from", metavar="FILE", help="stay close to this earlier .sqz file, so that an update from it is a small delta"
    )
    parser.add_argument("--data", metavar="DATA", help="where the images of the run are now, if they have moved")
    parser.add_argument("--device", metavar="NAME", help="where to train and measure: cpu, cuda or auto (default auto)")
    parser.add_argument(
        "--method", metavar="NAME", help=parser.seldom("squeezekit, or deep-compression as published (default squeezekit)")
    )
    parser.add_argument(
        "--rate-weight",
        type=float,
        metavar="λ",
        help=parser.seldom("one round with this rate weight λ, the cost of a bit in the loss; it starts there with --max-bytes"),
    )
    parser.add_argument(
        "--teacher", metavar="RUN", help=parser.seldom("learn from the outputs of this run's network (default: the run itself)")
    )
    parser.add_argument("--resume", action="store_true", help="continue a compression that was stopped")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, run_folder: str, out: str, json: bool = False, **options: Any) -> int:
    """Compress, print the stages; 1 when the target is not met."""
    import squeezekit as sk

    _check_run(run_folder)
    result = sk.compress(run_folder, out, **options)
    if json:
        show_json(result.as_json())
    else:
        for stage in result.stages:
            show(
                f"{stage.name:<36} {stage.bytes:>10,} bytes  {stage.density:6.1%} nonzero  "
                f"{stage.bits:6.3f} bits a weight  {result.judged_by} {stage.accuracy:.2%}"
            )
        if result.test:
            show(f"test accuracy {result.test.before:.2%} before, {result.test.after:.2%} after")
        show(f"{result.file}: {result.bytes:,} bytes, {result.ratio:.1f} times smaller, in {result.seconds:.0f} s")
        if result.delta_bytes is not None:
            show(f"delta from {options['delta_from']}: {result.delta_bytes:,} bytes ({result.delta_bytes / result.bytes:.1%})")
    if not result.met_target:
        say(f"target missed: {result.file} is the closest; relax --max-drop or --max-bytes, or give more --minutes or --epochs")
    return 0 if result.met_target else 1


def _check_run(folder: str) -> None:
    """What else is a MODEL has been compressed, or has no training to continue."""
    from squeezekit.pretrained.files import known_names

    if expanded(folder).is_file() or (folder in known_names() and not Path(folder).exists()):
        raise SqueezekitError(
            f"{folder}: is compressed already, or no run; compress takes the run folder that squeezekit train has written"
        )
