"""`squeezekit compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squeezekit.cli.amounts import amount, numbers
from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.standard_output import show, show_json

# Accuracy, of 1, that a file may lose without a word where bytes are the target.
COSTLY = 0.02


def add_arguments(parser: Parser) -> None:
    """The flags of `compress`."""
    parser.explain(
        "compress runs/digits -o digits.sqz",
        "compress runs/digits --max-bytes 30000 -o digits-small.sqz",
        usage="MODEL -o FILE [--max-bytes N] [settings]",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="the folder of a finished run, or an .onnx file made elsewhere, which needs --data"
    )
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
        help="be done after about M minutes (default 5, longer for large sets; 0 for an .onnx file); 0: post-training "
        "quantisation only",
    )
    parser.add_argument(
        "--delta-from", metavar="FILE", help="stay close to this earlier .sqz file, so that an update from it is a small delta"
    )
    parser.add_argument(
        "--data", metavar="DATA", help="images of the classes of an .onnx file, or where those of the run are now"
    )
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
    for name, said in (("mean", "subtracted from pixels of 0…1"), ("std", "divides them after that")):
        help_text = f"of an .onnx file: {said}, one number or one a channel (default: the usual one that suits it best)"
        parser.add_argument(f"--{name}", type=numbers, metavar="X,…", help=parser.seldom(help_text))
    parser.add_argument(
        "--image-size", type=int, metavar="N", help=parser.seldom("of an .onnx file that leaves open the side of its images")
    )
    parser.add_argument("--resume", action="store_true", help="continue a compression that was stopped")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, model: str, out: str, json: bool = False, **options: Any) -> int:
    """Compress, print the stages; 1 when the target is not met."""
    import squeezekit as sk

    _check_model(model)
    result = sk.compress(model, out, **options)
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
    lost = result.validation.before - result.validation.after
    if result.met_target and "max_bytes" in options and "max_drop" not in options and lost > COSTLY:
        say(f"{lost * 100:.1f} points of {result.judged_by} accuracy are lost: allow more --max-bytes, or give more --minutes")
    if not result.met_target:
        say(f"target missed: {result.file} is the closest; relax --max-drop or --max-bytes, or give more --minutes or --epochs")
    return 0 if result.met_target else 1


def _check_model(model: str) -> None:
    """A `.sqz` file has been compressed."""
    from squeezekit.pretrained.files import known_names

    onnx = expanded(model).suffix == ".onnx"
    if (expanded(model).is_file() and not onnx) or (model in known_names() and not Path(model).exists()):
        raise SqueezekitError(
            f"{model}: is compressed already, or no run; give the folder that squeezekit train has written, or an .onnx file"
        )
