"""The formats that a trained network can be exported to, by one function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from os import PathLike, fspath
from typing import Any, Protocol

from squeezekit.system.errors import SqueezekitError

# Each is imported when it is asked for: exporters need packages that others do not.
FORMATS = {
    "onnx": ("squeezekit.export.onnx", "export_onnx"),
    "c": ("squeezekit.export.c.export", "export_c"),
    "tflite": ("squeezekit.export.tflite", "export_tflite"),
    "html": ("squeezekit.export.html.export", "export_html"),
    "pi": ("squeezekit.export.pi", "export_pi"),
    "fpga": ("squeezekit.export.fpga.export", "export_fpga"),
    "qonnx": ("squeezekit.export.qonnx", "export_qonnx"),
}


class Export(Protocol):
    """What was written, in any format."""

    @property
    def validation(self) -> dict[str, float]:
        """Accuracy on the validation images `before` and `after`, 0…1; empty where it was not measured."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""

    def lines(self) -> list[str]:
        """What a reader wants to know of it."""


def exporter(format: str) -> Callable[..., Export]:
    """The function that writes a format; raises SqueezekitError for an unknown one."""
    if format not in FORMATS:
        raise SqueezekitError(f"format '{format}' is unknown; choose {', '.join(FORMATS)}")
    module, name = FORMATS[format]
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def export(model: str | PathLike[str], out: str | PathLike[str], *, format: str = "onnx", **options: Any) -> Export:
    """Write a trained network for other programs and machines; returns what was written, with its size.

    model: a run folder, a `.sqz` file or a pretrained name. out: the file to write; for C, a Pi and FPGAs, the folder.
    format: "onnx" for ONNX Runtime and whatever reads ONNX; "c" for C99 in integers, for any chip; "tflite" for TensorFlow
    Lite in int8; "html" for a page that classifies in any browser; "pi" for a small computer with Linux, without PyTorch;
    "fpga" for Verilog; "qonnx" for the tools FINN and hls4ml. `options` are those of `export_onnx` (int8, opset), `export_c`
    (store_weights, max_ram, name), `export_tflite`, `export_html`, `export_fpga` (target, parallel, clock), `export_qonnx`; these
    take `data`, the images to calibrate and measure on, which a `.sqz` file does not name.

    Raises SqueezekitError for an unknown format, an option that the format does not have, or a network that it cannot hold.
    """
    write = exporter(format)
    known = [name for name in inspect.signature(write).parameters if name not in ("model", "out")]
    if unknown := next((name for name in options if name not in known), None):
        raise SqueezekitError(f"{unknown} is no option of format {format}, which takes {', '.join(known)}; leave it out")
    return write(fspath(model), fspath(out), **options)
