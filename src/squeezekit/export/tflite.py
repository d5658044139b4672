"""TensorFlow Lite: an int8 file for STM32Cube.AI, eIQ, Edge Impulse, TensorFlow Lite Micro, and LiteRT on anything larger."""

from __future__ import annotations

import io
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from squeezekit.export.file_export import FileExport
from squeezekit.export.flatbuffer import Table, packed
from squeezekit.export.tflite_graph import graph_of
from squeezekit.inference.int8_model import accuracy_in_integers, integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.integer.plan import IntegerPlan
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

LABELS = "labels.txt"
# Of metadata_schema.fbs: kinds of unions and of files.
IMAGE_PROPERTIES, NORMALIZATION, RGB, GRAYSCALE, AXIS_LABELS = np.uint8(2), np.uint8(1), np.int8(1), np.int8(2), np.int8(2)


def export_tflite(model: str | Path, out: str | Path, *, data: str | Path | None = None) -> FileExport:
    """Write a run or a `.sqz` file of a network that has integers as TensorFlow Lite; nothing of TensorFlow is needed.

    The file takes int8 [1, side, side, channels], a pixel's byte less 128, and gives logits, float [1, classes]. Weights have
    eight bits and a scale for each filter, feature maps eight bits, sums 32: those of the integer plan that C has. The mean over
    positions and the last layer are in floats. The classes' names are in it as `labels.txt`. Where the images are at hand (a
    run's own, or `data`), the accuracy on the validation images is measured before and after; a file of the name `out` stays as
    it was when anything fails. Raises SqueezekitError.
    """
    check_installed()
    loaded, out = load_model(model), expanded(out)
    if out.suffix != ".tflite":
        raise SqueezekitError(f"-o {out}: name a file that ends in .tflite")
    plan = integer_plan(loaded, data)
    content = content_of(plan, loaded)
    atomic_io.write_bytes(out, content)
    return FileExport(str(out), len(content), accuracy_in_integers(loaded, plan, data))


def check_installed() -> None:
    if find_spec("flatbuffers") is None:
        raise SqueezekitError("--format tflite needs flatbuffers; pip install 'squeezekit[tflite]'")


def content_of(plan: IntegerPlan, model: Model) -> bytes:
    """A file's bytes: the graph, and behind it a zip archive with the classes' names, as readers of metadata expect it."""
    graph, first, last = graph_of(plan)
    metadata = packed(_metadata(model), "M001")
    written = io.BytesIO(packed(graph.table(first, last, "squeezekit", ("TFLITE_METADATA", metadata)), "TFL3"))
    with zipfile.ZipFile(written, "a") as archive:
        # The same network gives the same bytes: the time is none.
        archive.writestr(zipfile.ZipInfo(LABELS), "\n".join(model.classes) + "\n")
    return written.getvalue()


def _metadata(model: Model) -> Table:
    """What the tensors mean, by metadata_schema.fbs (https://github.com/tensorflow/tflite-support)."""
    color = GRAYSCALE if model.config.channels == 1 else RGB
    # Pixels between 0 and 1, which int8 steps of 1/255 stand for.
    scaling = {0: NORMALIZATION, 1: {0: np.zeros(1, np.float32), 1: np.full(1, 255, np.float32)}}
    image = {0: "image", 3: {0: IMAGE_PROPERTIES, 1: {0: color}}, 4: [scaling]}
    labels = {0: LABELS, 1: "names of the classes", 2: AXIS_LABELS}
    logits = {0: "logits", 3: {0: np.uint8(1), 1: {}}, 6: [labels]}
    return {0: "squeezekit", 3: [{2: [image], 3: [logits]}], 7: "1.0.0"}
