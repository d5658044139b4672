"""An `.onnx` file that squeezekit has made: run by ONNX Runtime, described by its metadata.

The graph takes `images`, uint8 [n, channels, image_size, image_size], and gives `logits`, float [n, classes].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.section import JsonSection
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.stored_names import network_as_read
from squeezekit.system.errors import SqueezekitError

INPUT, OUTPUT, KEY = "images", "logits", "squeezekit"


class OnnxMetadata(JsonSection):
    """What the file's metadata hold under `squeezekit`, as JSON, beside the graph."""

    title = "its metadata"

    classes: tuple[str, ...] = Field(min_length=2)
    channels: int = Field(ge=1, le=4)
    image_size: int = Field(ge=8, le=1024)
    network: dict[str, Any]
    int8: bool = False
    confidence: ProbabilityCalibration = ProbabilityCalibration()
    origin: Provenance | None = None


class OnnxNetwork(nn.Module):
    """The graph as a network: float [n, channels, image_size, image_size], pixels scaled to 0…1 -> logits [n, classes]."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._session = _session(path)

    @property
    def metadata(self) -> Mapping[str, str]:
        """As the file has them."""
        return self._session.get_modelmeta().custom_metadata_map  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        pixels = (x * 255).round().to(torch.uint8)
        (logits,) = self._session.run([OUTPUT], {INPUT: pixels.contiguous().numpy()})
        return torch.from_numpy(logits)


def read_onnx(path: Path) -> tuple[OnnxNetwork, OnnxMetadata, NetworkConfig]:
    """The graph, what is known of it, and how its images are given to it; raises SqueezekitError."""
    network = OnnxNetwork(path)
    try:
        metadata = OnnxMetadata.read(json.loads(network.metadata[KEY]))
    except KeyError:
        raise SqueezekitError(f"{path}: was not made by squeezekit; export a run or a .sqz file with --format onnx") from None
    except (SqueezekitError, ValueError) as error:
        raise SqueezekitError(f"{path}: damaged: {error}; export it again") from None
    # The graph normalises for itself.
    config = NetworkConfig(
        name=network_as_read({"name": "", **metadata.network})["name"],
        classes=len(metadata.classes),
        channels=metadata.channels,
        image_size=metadata.image_size,
        mean=(0.0,),
        std=(1.0,),
    )
    return network, metadata, config


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise SqueezekitError(f"{path}: needs ONNX Runtime; pip install 'squeezekit[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait take the cores from whoever brings the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:
        problem = str(error).splitlines()[0]
        raise SqueezekitError(f"{path}: cannot be read as ONNX ({problem}); export it again") from None
