"""QONNX: ONNX with exact quantizers, which FINN and hls4ml build circuits from."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from squeezekit.export.file_export import FileExport
from squeezekit.export.qonnx_graph import graph_of
from squeezekit.inference.int8_model import accuracy_in_integers, integer_plan
from squeezekit.inference.model import load_model
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

# In the metadata, the classes' names as JSON.
CLASSES = "classes"


def export_qonnx(model: str | Path, out: str | Path, *, data: str | Path | None = None) -> FileExport:
    """Write a run or a `.sqz` file of a network that has integers as QONNX, to be executed by the package `qonnx`.

    The file takes pixels 0…255, float [1, channels, side, side], and gives logits, float [1, classes]. Between layers are the
    bytes of the integer plan that C has; logits are not rounded, and so within one of its steps. Where the images are at hand (a
    run's own, or `data`), the accuracy on the validation images is measured before and after; a file of the name `out` stays as
    it was when anything fails. Raises SqueezekitError.
    """
    if find_spec("onnx") is None:
        raise SqueezekitError("--format qonnx needs onnx; pip install 'squeezekit[onnx]'")
    loaded, out = load_model(model), expanded(out)
    if out.suffix != ".onnx":
        raise SqueezekitError(f"-o {out}: name a file that ends in .onnx")
    plan = integer_plan(loaded, data)
    graph = graph_of(plan)
    entry = graph.metadata_props.add()
    entry.key, entry.value = CLASSES, json.dumps(loaded.classes, ensure_ascii=False)
    content = graph.SerializeToString()
    atomic_io.write_bytes(out, content)
    return FileExport(str(out), len(content), accuracy_in_integers(loaded, plan, data))
