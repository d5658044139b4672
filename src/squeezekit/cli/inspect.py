"""`squeezekit inspect`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.standard_output import show, show_json, show_table


def add_arguments(parser: Parser) -> None:
    """The flags of `inspect`."""
    parser.explain(
        "inspect cifar10-tiny",
        "inspect digits-nano --json",
        usage="MODEL [--json]",
    )
    parser.add_model("a .sqz file, or a pretrained model (squeezekit models lists them)")
    parser.add_json("print everything as JSON")
    parser.set_defaults(run=run)


def run(*, model: str, json: bool = False) -> int:
    """Print what a file holds; 1 when its self-check fails."""
    from squeezekit.modelfile.inspection import inspect

    found = inspect(sqz_file(model))
    if json:
        show_json(found.as_json())
    else:
        _print(found)
    return 1 if found.self_check is False else 0


def sqz_file(model: str) -> Path:
    """The `.sqz` file of a MODEL; raises SqueezekitError for the other kinds, with the command that makes one."""
    from squeezekit.pretrained.files import model_path

    path = model_path(model)
    if path.is_dir():
        raise SqueezekitError(f"{model}: is a folder; write its .sqz file with squeezekit compress {quote(model)} -o FILE")
    if path.suffix == ".onnx":
        raise SqueezekitError(f"{model}: is an ONNX file; give the .sqz file that it was exported from")
    return path


def _print(found: Any) -> None:
    rows = []
    for tensor in found.tensors:
        shape = "×".join(str(side) for side in tensor.shape)
        numbers = (f"{tensor.numbers:,}", f"{tensor.density:.1%}", f"{tensor.bytes:,}", f"{tensor.bits:.2f}")
        rows.append([tensor.name, tensor.encoding, shape, *numbers])
    show_table(["tensor", "encoding", "shape", "numbers", "nonzero", "bytes", "bits each"], rows, folds=["tensor"])
    sections = ", ".join(f"{tag} {size:,}" for tag, size in found.sections.items())
    show(f"{found.bytes:,} bytes, {found.numbers:,} numbers, {found.bits:.3f} bits each; bytes by section: {sections}")
    show(f"network {found.network.name}, {len(found.classes)} classes: {', '.join(found.classes)}")
    if found.stages:
        rows = []
        for stage in found.stages:
            numbers = (f"{stage.bytes:,}", f"{stage.density:.1%}", f"{stage.bits:.3f}", f"{stage.accuracy:.2%}")
            rows.append([stage.name, *numbers])
        show_table(["stage", "bytes", "nonzero", "bits a weight", "validation accuracy"], rows, folds=["stage"])
    if provenance := found.provenance:
        accuracy = ", ".join(f"{name} {value:.2%}" for name, value in provenance.accuracy.items())
        show(f"made by squeezekit {provenance.squeezekit}, recipe {provenance.recipe.get('name')}; accuracy: {accuracy}")
    if calibration := found.probability_calibration:
        show(f"unsure below {calibration.threshold:.1%}; temperature {calibration.temperature:g}")
    if found.none_of_these:
        show("tells which pictures are of none of its classes")
    if found.self_check is not None:
        show(f"self-check {'passed' if found.self_check else 'FAILED: the network does not compute the outputs in the file'}")
