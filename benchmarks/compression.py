"""How few bytes does a trained network need, and at what accuracy?

    python benchmarks/compression.py RUN --out FOLDER [--epochs 4] [--max-drop 3] [--ways …]
        [--nncodec-python PYTHON --nncodec-script nncodec_size.py] [--plot PLOT.png --also LINES.jsonl …]

From one run and its images, the same starting weights for all: float32 and float16 as they are, float32 in xz, int8 in ONNX
(where onnx, onnxscript and onnxruntime are installed), `nncodec` at several quantisation parameters (its interpreter and
script given by flags), Deep Compression with codebooks of 8 and 6 bits in its own coding, and squeezekit, by post-training
quantisation (PTQ) and with training; `--ways` names some of these. Prints one JSON line for everything that was made: bytes,
and accuracy on the validation images; where that lies within five points of the run's, also on the test images, measured once
each. Then one line for each method and target (`max_drop`, points of validation accuracy): the smallest that meets it. What
was made is kept in FOLDER, so that a stopped measurement goes on where it was.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import lzma
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from squeezekit.acceleration.folding import folded
from squeezekit.compression.best_file import BestFile
from squeezekit.compression.compress import METHODS, run_method
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.deep_compression import published_bytes
from squeezekit.compression.job_state import JobState
from squeezekit.compression.target import Target
from squeezekit.compression.time_limit import TimeLimit
from squeezekit.reporting.figures import draw_sizes
from squeezekit.system import atomic_io
from squeezekit.training.device import keep_freed_memory
from squeezekit.training.measurement import measure
from squeezekit.training.run_folder import Run

WAYS = ("float", "int8", "nncodec", *METHODS)
TARGETS = (0.25, 0.5, 1.0, 2.0, 3.0)
QUANTISATION = (-38, -32, -28, -26, -24, -22, -20, -18, -16)


@dataclass
class Made:
    """A network made smaller: who made it, how, what it needs, and a way to measure it."""

    method: str
    setting: str
    bytes: int
    accuracy: Callable[[bool], float]
    validation: float = 0.0
    test: float | None = None


class Bench:
    """One run, and everything made from it."""

    def __init__(self, run: Path, out: Path, epochs: int, max_drop: float) -> None:
        self.epochs, self.max_drop = epochs, max_drop
        self.context = CompressionContext(Run(run))
        self.network = folded(self.context.network().eval())
        self.out = out / self.context.run.weights_digest()[:12]
        self.out.mkdir(parents=True, exist_ok=True)

    def of_network(self, method: str, setting: str, size: int, network: nn.Module) -> Made:
        """A network that computes with the weights that a reader gets."""

        def accuracy(test: bool) -> float:
            images = self.context.test_images if test else self.context.validation
            return measure(network, images).accuracy

        return Made(method, setting, size, accuracy)

    def plain(self) -> Iterator[Made]:
        """Floating point, as it is and in xz."""
        flat = np.concatenate([tensor.numpy().ravel() for tensor in self.network.state_dict().values()])
        yield self.of_network("float32", "", flat.nbytes, self.network)
        yield self.of_network(
            "float32 in xz", "", len(lzma.compress(flat.tobytes(), preset=9 | lzma.PRESET_EXTREME)), self.network
        )
        halved = copy.deepcopy(self.network)
        halved.load_state_dict({name: tensor.half().float() for name, tensor in halved.state_dict().items()})
        yield self.of_network("float16", "", flat.nbytes // 2, halved)

    def int8(self) -> Iterator[Made]:
        """Static quantisation by onnxruntime: int8 weights for each channel, uint8 maps."""
        if not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
            return
        path = self.out / "int8.onnx"
        if not path.exists():
            _quantise_onnx(self.network, [images for images, _ in self.context.calibration], path)

        def accuracy(test: bool) -> float:
            return _onnx_accuracy(path, self.context.test_images if test else self.context.validation)

        yield Made("int8 ONNX", "", path.stat().st_size, accuracy)

    def nncodec(self, python: str, script: str) -> Iterator[Made]:
        """The ISO standard's coder, on the network with batch normalization, as it was trained."""
        folder = self.out / "nncodec"
        lines = folder / "lines.jsonl"
        state = {name: t.numpy() for name, t in self.context.network().state_dict().items() if t.is_floating_point()}
        if not lines.exists():
            folder.mkdir(parents=True, exist_ok=True)
            np.savez(folder / "weights.npz", **state)
            command = [python, script, str(folder / "weights.npz"), "--out", str(folder), "--qp", *map(str, QUANTISATION)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
            atomic_io.write_text(lines, "\n".join(line for line in done.stdout.splitlines() if line.startswith("{")))
        for row in map(json.loads, lines.read_text().splitlines()):
            network = self.context.network()
            with np.load(folder / f"qp{row['qp']}.npz") as decoded:
                network.load_state_dict({name: torch.from_numpy(decoded[name]) for name in state}, strict=False)
            yield self.of_network("nncodec", f"qp {row['qp']}", row["bytes"], network)

    def method(self, name: str) -> Iterator[Made]:
        """Every candidate of one of squeezekit's methods until it loses too much."""
        settings = {"run": self.context.run.weights_digest(), "epochs": self.epochs}
        job = JobState.open(self.out / f"{name}.sqz", settings, resume=True)
        target = Target(self.context.accuracy_before, self.max_drop, None)
        limit = TimeLimit(None, self.epochs, self.context.seconds_of_an_epoch, limited=False)
        run_method(METHODS[name](self.context, target), job, BestFile(self.out / f"{name}.sqz", target, job), limit)
        for candidate in job.ptq.candidates:
            yield self.of_network(f"{name}, PTQ", candidate.name, len(candidate.file.to_bytes()), candidate.file.build())
        for candidate in job.rounds.candidates:
            if candidate.name.startswith("pruned"):
                # A step on the way, whose weights have no code yet.
                continue
            file = candidate.file
            size = published_bytes(file.weights) if name == "deep-compression" else len(file.to_bytes())
            yield self.of_network(name, candidate.name, size, file.build())


def _quantise_onnx(network: nn.Module, images: list[torch.Tensor], path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter([{"images": batch.contiguous().numpy()} for batch in images])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        plain = str(Path(folder) / "plain.onnx")
        batch = {"images": {0: torch.export.Dim("batch")}}
        # Axis 3 of channels-last images is no contiguous one: what is exported takes [n, c, h, w].
        torch.onnx.export(
            network,
            (images[0].contiguous(),),
            plain,
            input_names=["images"],
            dynamic_shapes=(batch["images"],),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        quantize_static(plain, str(path), Reader(), per_channel=True)


def _onnx_accuracy(path: Path, images: Any) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    right = count = 0
    for batch, labels in images.in_order():
        logits = session.run(None, {"images": batch.contiguous().numpy()})[0]
        right, count = right + int((logits.argmax(1) == labels.numpy()).sum()), count + len(labels)
    return right / count


def smallest(made: list[Made], before: float) -> Iterator[dict[str, Any]]:
    """For each method and target the smallest that meets it."""
    for method in dict.fromkeys(one.method for one in made):
        for points in TARGETS:
            meeting = [one for one in made if one.method == method and round(100 * (before - one.validation), 4) <= points]
            if meeting:
                best = min(meeting, key=lambda one: one.bytes)
                yield {"max_drop": points, **_row(best)}


def _row(one: Made) -> dict[str, Any]:
    row = {"method": one.method, "setting": one.setting, "bytes": one.bytes, "validation": round(one.validation, 4)}
    return row if one.test is None else {**row, "test": round(one.test, 4)}


def _everything(bench: Bench, arguments: argparse.Namespace) -> Iterator[Made]:
    if "float" in arguments.ways:
        yield from bench.plain()
    if "int8" in arguments.ways:
        yield from bench.int8()
    if "nncodec" in arguments.ways and arguments.nncodec_python:
        yield from bench.nncodec(arguments.nncodec_python, arguments.nncodec_script)
    for name in METHODS:
        if name in arguments.ways:
            yield from bench.method(name)


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        # Lines of 0.1 have "promise" in place of "max_drop".
        if "test" in row and not {"max_drop", "promise"} & row.keys():
            points.setdefault(row["method"], []).append((row["bytes"], row["test"]))
    draw_sizes(points, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, help="where everything that is made is kept")
    parser.add_argument("--epochs", type=int, default=4, help="of each round of training")
    parser.add_argument("--max-drop", type=float, default=3.0, help="points of validation accuracy at which training stops")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="what to try; default everything")
    parser.add_argument("--nncodec-python", help="the interpreter that has nncodec")
    parser.add_argument("--nncodec-script", help="nncodec_size.py")
    parser.add_argument("--plot", type=Path, help="a picture of bytes against test accuracy")
    parser.add_argument("--also", type=Path, nargs="+", default=[], help="lines of other calls, to be drawn with these")
    arguments = parser.parse_args()
    keep_freed_memory()
    bench = Bench(arguments.run, arguments.out, arguments.epochs, arguments.max_drop)
    made = []
    for one in _everything(bench, arguments):
        one.validation = one.accuracy(False)
        # Too far from the run's own accuracy to be of use, whatever the test says.
        if one.validation >= bench.context.accuracy_before - 0.05:
            one.test = one.accuracy(True)
        made.append(one)
        print(json.dumps({"run": arguments.run.name, **_row(one)}), flush=True)
    for row in smallest(made, bench.context.accuracy_before):
        print(json.dumps({"run": arguments.run.name, **row}), flush=True)
    if arguments.plot:
        others = [json.loads(line) for path in arguments.also for line in path.read_text().splitlines()]
        _draw([*others, *map(_row, made)], arguments.plot)
