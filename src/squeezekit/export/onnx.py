"""ONNX: a graph from pixels to logits, with everything else that is known of the network in its metadata."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squeezekit.data.image_set import ImageSet
from squeezekit.inference.evaluation import evaluate, has_validation_images, own_images
from squeezekit.inference.int8_model import calibration_images
from squeezekit.inference.model import Model, load_model
from squeezekit.inference.onnx_network import INPUT, KEY, OUTPUT, OnnxMetadata, OnnxNetwork
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.networks.stored_names import as_stored
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.presentation import Presented

# What runtimes of the last three years read: opset 18 in files of version 8. Each is exported as it is asked for.
OPSET, OPSETS = 18, range(18, 24)
CALIBRATION_BATCH = 64


@dataclass(frozen=True)
class OnnxExport(Presented):
    """What was written; `validation` is the accuracy 0…1 `before` and `after` int8 quantization, empty for floats."""

    file: str
    bytes: int
    opset: int
    int8: bool
    validation: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The result in sentences for a reader."""
        return [f"{self.file}: {self.bytes:,} bytes, opset {self.opset}"]


class FromPixels(nn.Module):
    """A network with its normalization: uint8 [n, channels, h, w] -> logits [n, classes]."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        config = model.config
        self.network = model.network
        mean, std = (torch.tensor(numbers).expand(config.channels).view(1, -1, 1, 1) for numbers in (config.mean, config.std))
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.float() * self.scale + self.shift)
        return logits


def export_onnx(
    model: str | Path, out: str | Path, *, int8: bool = False, opset: int = OPSET, data: str | Path | None = None
) -> OnnxExport:
    """Write a run or a `.sqz` file as ONNX to `out`; a file of that name stays as it was when anything fails.

    `int8` quantizes weights for each filter and feature maps for each layer, calibrated on training images, which a `.sqz` needs
    `data` for; the accuracy on the validation images is measured before and after. `opset`, 18 to 23, is the version of
    the operators: 18 for every runtime since 2023. Raises SqueezekitError.
    """
    check_installed()
    loaded, out = load_model(model), expanded(out)
    if out.suffix != ".onnx":
        raise SqueezekitError(f"-o {out}: name a file that ends in .onnx")
    if isinstance(loaded.network, OnnxNetwork):
        raise SqueezekitError(f"{model}: is ONNX already; give the run or the .sqz file that it was made from")
    if opset not in OPSETS:
        raise SqueezekitError(f"--opset {opset}: is none that can be exported; choose {OPSETS[0]} to {OPSETS[-1]}")
    images = own_images(loaded, data).training if int8 else None
    loaded = loaded.folded()
    graph = graph_of(loaded, opset)
    if images is not None:
        graph = _quantized(graph, images, calibration_images(loaded, images))
    _declare_least(graph)
    entry = graph.metadata_props.add()
    entry.key, entry.value = KEY, _metadata_text(loaded, int8)
    content = graph.SerializeToString()
    atomic_io.write_bytes(out, content)
    validation = {}
    source = data or loaded.data
    if int8 and has_validation_images(loaded, source):
        before, after = (evaluate(one, source, "validation").accuracy for one in (model, out))
        validation = {"before": before, "after": after}
    return OnnxExport(str(out), len(content), opset, int8, validation)


def check_installed() -> None:
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise SqueezekitError(f"--format onnx needs {', '.join(missing)}; pip install 'squeezekit[onnx]'")


def _metadata_text(model: Model, int8: bool) -> str:
    # Readers of 0.1 know no rule for none of these, nor that there could be one.
    left_out = set() if model.none_of_these else {"none_of_these"}
    return _metadata(model, int8).model_dump_json(exclude=left_out)


def _metadata(model: Model, int8: bool) -> OnnxMetadata:
    config = model.config
    return OnnxMetadata(
        classes=model.classes,
        channels=config.channels,
        image_size=config.image_size,
        network=as_stored(json.loads(config.model_dump_json())),
        int8=int8,
        confidence=ProbabilityCalibration(temperature=model.temperature, threshold=model.threshold),
        origin=model.origin,
        none_of_these=model.none_of_these,
    )


def graph_of(model: Model, opset: int = OPSET) -> Any:
    """The model as an `onnx.ModelProto` without metadata: uint8 [n, channels, h, w] -> logits, float [n, classes].

    Raises SqueezekitError for a network that torch.onnx cannot convert.
    """
    side = model.config.image_size
    network = FromPixels(model).eval()
    pixels = torch.zeros(2, model.config.channels, side, side, dtype=torch.uint8)
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (pixels,),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={"images": {0: torch.export.Dim("n")}},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise SqueezekitError(f"{model.name}: torch.onnx cannot convert its network ({reason}); replace that layer") from error
    assert program is not None
    return _without_remarks(program.model_proto)


def _declare_least(graph: Any) -> None:
    """The oldest version of the format that holds the graph, and no set of operators that it does not use."""
    import onnx

    used = {node.domain for node in graph.graph.node} | {""}
    kept = [entry for entry in graph.opset_import if entry.domain in used]
    del graph.opset_import[:]
    graph.opset_import.extend(kept)
    graph.ir_version = onnx.helper.find_min_ir_version_for(kept)


def _without_remarks(graph: Any) -> Any:
    """Without the exporter's remarks, up to a fifth of a small file, which name folders of the machine that it ran on."""
    content = graph.graph
    for part in (content, *content.node, *content.input, *content.output, *content.value_info, *content.initializer):
        del part.metadata_props[:]
    return graph


def _quantized(graph: Any, images: ImageSet, chosen: NDArray[np.int64]) -> Any:
    """In eight bits, between pairs of QuantizeLinear and DequantizeLinear, by ONNX Runtime's static quantization."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet(), tempfile.TemporaryDirectory() as folder:
        plain, made = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(graph, str(plain))
        types = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
        quantize_static(str(plain), str(made), _CalibrationReader(images, chosen), per_channel=True, **types)
        return onnx.load(str(made))


class _CalibrationReader:
    """Batches of pixels, in the form of ONNX Runtime's `CalibrationDataReader`."""

    def __init__(self, images: ImageSet, chosen: NDArray[np.int64]) -> None:
        parts = (chosen[i : i + CALIBRATION_BATCH] for i in range(0, len(chosen), CALIBRATION_BATCH))
        self._batches: Iterator[dict[str, NDArray[np.uint8]]] = (
            {INPUT: np.ascontiguousarray(np.asarray(images.images[np.sort(part)]).transpose(0, 3, 1, 2))} for part in parts
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of exporters about operators and options that are not ours."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
