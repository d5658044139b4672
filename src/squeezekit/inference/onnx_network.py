"""An `.onnx` file that squeezekit has made: run by ONNX Runtime, described by its metadata.

It may come from a stranger: it is looked through (`onnx_file.py`), and first run by a process of its own whose memory and time
are bounded (`onnx_trial.py`). The graph takes `images`, uint8 [n, channels, image_size, image_size], and gives `logits`, float
[n, classes].
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from squeezekit.inference.onnx_file import BrokenOnnx, check_onnx, metadata_of
from squeezekit.modelfile.class_names import check_class_names
from squeezekit.modelfile.container import parse_json
from squeezekit.modelfile.none_of_these import NoneOfThese
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.section import JsonSection
from squeezekit.modelfile.sqz import MAX_BYTES
from squeezekit.networks.config import MAX_CLASSES, NetworkConfig
from squeezekit.networks.registry import first_problem
from squeezekit.networks.stored_names import network_as_read
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes
from squeezekit.system.shown_text import shown
from squeezekit.training.measurement import images_at_once

INPUT, OUTPUT, KEY = "images", "logits", "squeezekit"
# As many images as were tried are run at once, so that more never take more memory than the trial was allowed.
MOST_AT_ONCE = 16
TRIAL_SECONDS = 120


class OnnxMetadata(JsonSection):
    """What the file's metadata hold under `squeezekit`, as JSON, beside the graph."""

    title = "its metadata"

    classes: tuple[str, ...] = Field(min_length=2, max_length=MAX_CLASSES)
    channels: int = Field(ge=1, le=4)
    image_size: int = Field(ge=8, le=1024)
    network: dict[str, Any]
    int8: bool = False
    confidence: ProbabilityCalibration = ProbabilityCalibration()
    origin: Provenance | None = None
    none_of_these: NoneOfThese | None = None


class OnnxNetwork(nn.Module):
    """The graph as a network: float [n, channels, image_size, image_size], pixels scaled to 0…1 -> logits [n, classes]."""

    def __init__(self, path: Path, session: Any, at_once: int) -> None:
        super().__init__()
        self._path, self._session, self._at_once = path, session, at_once

    def forward(self, x: Tensor) -> Tensor:
        pixels = (x * 255).round().to(torch.uint8)
        return torch.cat([self._logits(part) for part in torch.split(pixels, self._at_once)])

    def _logits(self, pixels: Tensor) -> Tensor:
        try:
            (logits,) = self._session.run([OUTPUT], {INPUT: pixels.contiguous().numpy()})
        # The classes of ONNX Runtime's errors are of no module that may be imported.
        except Exception as error:
            raise SqueezekitError(f"{self._path}: cannot be run ({_first_line(error)}); export it again") from None
        return torch.from_numpy(logits)


def read_onnx(path: Path) -> tuple[OnnxNetwork, OnnxMetadata, NetworkConfig]:
    """The graph, what is known of it, and how its images are given to it; raises SqueezekitError.

    Nothing in the file can read other files, and its first run is bounded in memory and time.
    """
    if find_spec("onnxruntime") is None:
        raise SqueezekitError(f"{path}: needs ONNX Runtime; pip install 'squeezekit[onnx]'")
    content = read_outside_bytes(path, MAX_BYTES)
    try:
        entries = metadata_of(content)
        if KEY not in entries:
            raise SqueezekitError(f"{path}: was not made by squeezekit; export a run or a .sqz file with --format onnx")
        check_onnx(content)
    except BrokenOnnx as error:
        raise SqueezekitError(f"{path}: cannot be read as ONNX ({error}); export it again") from None
    metadata, config = _described(path, entries[KEY])
    at_once = min(images_at_once(config.image_size), MOST_AT_ONCE)
    _try(path, content, config, at_once)
    return OnnxNetwork(path, _session(path, content), at_once), metadata, config


def _described(path: Path, text: str) -> tuple[OnnxMetadata, NetworkConfig]:
    try:
        metadata = OnnxMetadata.read(parse_json(text))
        check_class_names(metadata.classes, len(metadata.classes))
        if metadata.none_of_these:
            metadata.none_of_these.checked(len(metadata.classes))
        # The graph normalises for itself.
        config = NetworkConfig(
            name=network_as_read({"name": "", **metadata.network})["name"],
            classes=len(metadata.classes),
            channels=metadata.channels,
            image_size=metadata.image_size,
            mean=(0.0,),
            std=(1.0,),
        )
    except ValidationError as error:
        raise SqueezekitError(f"{path}: damaged: its metadata: {first_problem(error)}; export it again") from None
    except SqueezekitError as error:
        raise SqueezekitError(f"{path}: {error}") from None
    return metadata, config


def _try(path: Path, content: bytes, config: NetworkConfig, count: int) -> None:
    """Run the graph in another process; raises SqueezekitError unless it gives what its metadata say, in bounds."""
    program = str(Path(__file__).with_name("onnx_trial.py"))
    # -P: what lies beside the program are our modules, and they are not to be found under the names of others.
    command = [sys.executable, "-P", program, *map(str, (config.image_size, config.channels, count))]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        raise SqueezekitError(f"{path}: its first run takes too long; export it again, or a smaller network") from None
    except OSError as error:
        raise SqueezekitError(f"{path}: no process can be started to try it ({error.strerror}); close other programs") from None
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode or not lines:
        raise SqueezekitError(f"{path}: its first run takes too much memory or time; export it again, or a smaller network")
    said = json.loads(lines[-1])
    if "problem" in said:
        raise SqueezekitError(f"{path}: cannot be read as ONNX ({shown(said['problem'])[:300]}); export it again")
    if said != {"type": "float32", "shape": [count, config.classes]}:
        raise SqueezekitError(f"{path}: its logits are not those of the {config.classes} classes that it names; export it again")


def _first_line(error: Exception) -> str:
    return shown((str(error).splitlines() or [""])[0])[:300]


def _session(path: Path, content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait take the cores from whoever brings the next pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SqueezekitError(f"{path}: cannot be read as ONNX ({_first_line(error)}); export it again") from None
