"""`squeezekit export`."""

from __future__ import annotations

from typing import Any

from squeezekit.cli.amounts import amount
from squeezekit.cli.parser import Parser
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.standard_output import show, show_json

# Flags of one format only.
OWNERS = {
    "int8": "onnx",
    "opset": "onnx",
    "store_weights": "c",
    "max_ram": "c",
    "name": "c",
    "target": "fpga",
    "parallel": "fpga",
    "clock": "fpga",
}


def add_arguments(parser: Parser) -> None:
    """The flags of `export`."""
    parser.explain(
        "export digits-nano --format c -o digits-c",
        "export cifar10-tiny --format html -o cifar10.html",
        usage="MODEL --format NAME -o OUT [settings]",
    )
    parser.add_model("a run folder, a .sqz file, or a pretrained model (squeezekit models lists them)")
    parser.add_argument(
        "--format",
        choices=["onnx", "c", "tflite", "html", "pi", "fpga", "qonnx"],
        required=True,
        help="onnx: for ONNX Runtime and other programs that read ONNX; c: C99 in integers, for any chip; tflite: an int8 "
        "file for tools of microcontrollers and phones; html: one page that classifies in any browser; pi: a folder for a small "
        "computer with Linux, without PyTorch; fpga: Verilog in integers; qonnx: for FINN and hls4ml",
    )
    parser.add_out("OUT", "file to write; for c, pi and fpga, the folder")
    parser.add_argument("--int8", action="store_true", help="onnx: 8-bit weights and activations, calibrated on training images")
    parser.add_argument("--opset", type=int, metavar="N", help="onnx: version of the operators, 18 to 23 (default 18)")
    parser.add_argument(
        "--store-weights",
        choices=["dense", "sparse", "coded"],
        help="c: all weights as constants in flash (dense), without those that are zero (sparse), or entropy-coded and decoded "
        "into RAM (default dense)",
    )
    parser.add_argument(
        "--max-ram",
        type=amount,
        metavar="N",
        help="c: N bytes for feature maps at most, as many layers whole as fit; not for coded weights (default: the order of "
        "fewest bytes)",
    )
    parser.add_argument(
        "--name", help="c: how functions and files begin, so that a program may have several networks (default classifier)"
    )
    parser.add_argument(
        "--target",
        choices=["ecp5-85k", "ecp5-45k", "ecp5-25k", "ice40-up5k", "generic"],
        help="fpga: the chip, whose DSPs and memory bound the circuit (default generic)",
    )
    parser.add_argument(
        "--parallel", type=int, metavar="N", help="fpga: at most N multipliers of weights in all (default: by the target)"
    )
    parser.add_argument("--clock", type=float, metavar="MHz", help="fpga: the clock to ask the tools for (default 50)")
    parser.add_argument(
        "--data", metavar="DATA", help="images to calibrate and measure on (default: those of the run; a file may need it)"
    )
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, model: str, out: str, format: str, json: bool = False, **options: Any) -> int:
    """Export, print what was written."""
    import squeezekit as sk

    for name, owner in OWNERS.items():
        if name in options and format != owner:
            raise SqueezekitError(f"--{name.replace('_', '-')} is a setting of --format {owner}; leave it out")
    exported = sk.export(model, out, format=format, **options)
    if json:
        show_json(exported.as_json())
        return 0
    if exported.validation:
        before, after = exported.validation["before"], exported.validation["after"]
        show(f"validation accuracy {before:.2%} before, {after:.2%} in eight bits")
    for line in exported.lines():
        show(line)
    return 0
