"""How few bytes does a trained network need, and at what accuracy?

    python benchmarks/compression.py RUN --out FOLDER [--epochs 4] [--max-drop 3] [--ways …]
        [--nncodec-python PYTHON --nncodec-script nncodec_size.py [--qp -38 …]]

From one run and its images, the same starting weights for all: float32 and float16 as they are, float16 in gzip and zstd, int8 by
ONNX Runtime and by TorchAO, `nncodec` at several quantisation parameters (its interpreter and script given by flags), of the
network with batch normalization and with that folded into its weights, Deep Compression with codebooks of 8 and 6 bits in its own
coding, and squeezekit, by post-training quantisation (PTQ) and with training, unless `--epochs 0`; `--ways` names some of these.
What zstandard, onnx, onnxscript, onnxruntime and torchao are needed for is left out where they are not installed. Prints one JSON
line for everything that was made: bytes, and accuracy on the images that judge (`validation`: those that validated the run, or
else 5,000 of its training images); where that lies within five points of the run's, also on the test images, measured once each.
Bytes are those of the whole file of squeezekit, ONNX Runtime and TorchAO, those of the last two without their graph as `weights`;
what the others make holds weights alone. Then one line for each method and target (`max_drop`, points of accuracy of the images
that judge): the smallest that meets it. What was made is kept in FOLDER, so that a stopped measurement goes on where it was.
"""

from __future__ import annotations

import argparse
import copy
import functools
import gzip
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squeezekit.acceleration.folding import folded
from squeezekit.compression.best_file import BestFile
from squeezekit.compression.compress import METHODS, run_method
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.deep_compression import published_bytes
from squeezekit.compression.job_state import JobState
from squeezekit.compression.target import Target
from squeezekit.compression.time_limit import TimeLimit
from squeezekit.data.batches import Batches
from squeezekit.system import atomic_io
from squeezekit.training.device import keep_freed_memory
from squeezekit.training.measurement import measure
from squeezekit.training.run_folder import Run

WAYS = ("float", "int8", "torchao", "nncodec", *METHODS)
TARGETS = (0.25, 0.5, 1.0, 2.0, 3.0)
QUANTISATION = (-38, -32, -28, -26, -24, -22, -20, -18, -16)


@dataclass
class Made:
    """A network made smaller: who made it, how, what it needs, and a way to measure it.

    `weights` are the bytes of its arrays where `bytes` counts a graph too, `external` says what outside program made it.
    """

    method: str
    setting: str
    bytes: int
    accuracy: Callable[[bool], float]
    weights: int | None = None
    external: str = ""
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

    def of_network(self, method: str, setting: str, size: int, network: nn.Module, **others: Any) -> Made:
        """A network that computes with the weights that a reader gets."""
        return Made(method, setting, size, lambda test: measure(network, self._images(test)).accuracy, **others)

    def of_answers(self, method: str, setting: str, size: int, answers: Callable[[Tensor], Any], **others: Any) -> Made:
        """A program that gives logits [n, classes] for images [n, c, h, w]."""

        def accuracy(test: bool) -> float:
            right = count = 0
            for batch, labels in self._images(test).in_order():
                predicted = np.asarray(answers(batch.contiguous())).argmax(1)
                right, count = right + int((predicted == labels.numpy()).sum()), count + len(labels)
            return right / count

        return Made(method, setting, size, accuracy, **others)

    def _images(self, test: bool) -> Batches:
        return self.context.test_images if test else self.context.validation

    def plain(self) -> Iterator[Made]:
        """Floating point, as it is, halved, and compressed as files are."""
        flat = np.concatenate([tensor.numpy().ravel() for tensor in self.network.state_dict().values()])
        yield self.of_network("float32", "", flat.nbytes, self.network)
        halved = copy.deepcopy(self.network)
        halved.load_state_dict({name: tensor.half().float() for name, tensor in halved.state_dict().items()})
        data = flat.astype(np.float16).tobytes()
        sizes = {"float16": len(data), "float16 in gzip": len(gzip.compress(data, 9))}
        if importlib.util.find_spec("zstandard"):
            import zstandard

            sizes["float16 in zstd"] = len(zstandard.ZstdCompressor(level=22).compress(data))
        accuracy = functools.cache(self.of_network("float16", "", len(data), halved).accuracy)
        for method, size in sizes.items():
            yield Made(method, "", size, accuracy)

    def int8(self) -> Iterator[Made]:
        """Static quantisation by ONNX Runtime: int8 weights for each channel, uint8 maps."""
        if not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")):
            return
        import onnx
        import onnxruntime

        path = self.out / "int8.onnx"
        if not path.exists():
            _quantise_onnx(self.network, self._calibration(), path)
        arrays = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
        session = onnxruntime.InferenceSession(str(path))
        yield self.of_answers(
            "ONNX Runtime int8",
            "",
            path.stat().st_size,
            lambda images: session.run(None, {"images": images.numpy()})[0],
            weights=sum(array.nbytes for array in arrays),
            external=f"onnxruntime {version('onnxruntime')}: quantize_static, per channel",
        )

    def torchao(self) -> Iterator[Made]:
        """Static quantisation by TorchAO's PT2E flow for x86: int8 weights for each channel, uint8 maps."""
        if not importlib.util.find_spec("torchao"):
            return
        path = self.out / "int8.pt2"
        network = _quantise_torchao(self.network, self._calibration(), path)
        yield self.of_answers(
            "TorchAO int8",
            "",
            path.stat().st_size,
            torch.no_grad()(network),
            weights=sum(tensor.nbytes for tensor in network.state_dict().values()),
            external=f"torchao {version('torchao')}: prepare_pt2e, convert_pt2e, X86InductorQuantizer",
        )

    def _calibration(self) -> list[Tensor]:
        # Axis 3 of channels-last images is no contiguous one: what is exported takes [n, c, h, w].
        return [images.contiguous() for images, _ in self.context.calibration]

    def nncodec(self, python: str, script: str, parameters: list[int]) -> Iterator[Made]:
        """The ISO standard's coder, on the network as it was trained, and without batch normalization."""
        for method, network in (("nncodec", self.context.network()), ("nncodec, folded", copy.deepcopy(self.network))):
            folder = self.out / method.replace(", ", "-")
            state = {name: t.numpy() for name, t in network.state_dict().items() if t.is_floating_point()}
            for row in _nncodec_rows(folder, state, python, script, parameters):
                decoded = copy.deepcopy(network)
                with np.load(folder / f"qp{row['qp']}.npz") as arrays:
                    decoded.load_state_dict({name: torch.from_numpy(arrays[name]) for name in state}, strict=False)
                yield self.of_network(method, f"qp {row['qp']}", row["bytes"], decoded, external=row["external"])

    def method(self, name: str) -> Iterator[Made]:
        """Every candidate of one of squeezekit's methods until it loses too much."""
        settings = {"run": self.context.run.weights_digest(), "epochs": self.epochs}
        job = JobState.open(self.out / f"{name}.sqz", settings, resume=True)
        target = Target(self.context.accuracy_before, self.max_drop, None)
        limit = TimeLimit(None if self.epochs else 0, self.epochs, self.context.seconds_of_an_epoch, limited=False)
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


def _nncodec_rows(
    folder: Path, state: dict[str, NDArray[np.float32]], python: str, script: str, parameters: list[int]
) -> list[dict[str, Any]]:
    """What the script says of each parameter, and the command; what it decodes again is in `folder`."""
    lines = folder / "lines.jsonl"
    if not lines.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "weights.npz", **state)
        flags = [str(folder / "weights.npz"), "--out", str(folder), "--qp", *map(str, parameters)]
        done = subprocess.run([python, script, *flags], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join([python, script, *flags])} failed:\n{done.stderr}")
        asked = [python, "-c", "import importlib.metadata as m; print(m.version('nncodec'))"]
        release = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        command = f"nncodec {release}: {Path(script).name} weights.npz --qp"
        atomic_io.write_text(lines, "\n".join(json.dumps({**row, "external": f"{command} {row['qp']}"}) for row in rows))
    return [json.loads(line) for line in lines.read_text().splitlines()]


def _quantise_onnx(network: nn.Module, images: list[Tensor], path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter([{"images": batch.numpy()} for batch in images])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as folder:
        plain = str(Path(folder) / "plain.onnx")
        torch.onnx.export(
            network,
            (images[0],),
            plain,
            input_names=["images"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        quantize_static(plain, str(path), Reader(), per_channel=True)


def _quantise_torchao(network: nn.Module, images: list[Tensor], path: Path) -> nn.Module:
    """The quantised network, which is written to `path` as well."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    batch = ({0: torch.export.Dim("batch")},)
    prepared = prepare_pt2e(torch.export.export(network, (images[0],), dynamic_shapes=batch).module(), quantizer)
    with torch.no_grad():
        for each in images:
            prepared(each)
        quantised: Any = convert_pt2e(prepared)
        # The floating-point weights are still there, which nothing reads any more.
        used = {str(node.target) for node in quantised.graph.nodes if node.op == "get_attr"}
        for name in quantised.state_dict().keys() - used:
            owner, _, attribute = name.rpartition(".")
            delattr(quantised.get_submodule(owner), attribute)
        torch.export.save(torch.export.export(quantised, (images[0][:2].clone(),), dynamic_shapes=batch), path)
    return quantised


def smallest(made: list[Made], before: float) -> Iterator[dict[str, Any]]:
    """For each method and target the smallest that meets it."""
    for method in dict.fromkeys(one.method for one in made):
        for points in TARGETS:
            meeting = [one for one in made if one.method == method and round(100 * (before - one.validation), 4) <= points]
            if meeting:
                best = min(meeting, key=lambda one: one.bytes)
                yield {"max_drop": points, **_row(best)}


def _row(one: Made) -> dict[str, Any]:
    row: dict[str, Any] = {"method": one.method, "setting": one.setting, "bytes": one.bytes}
    if one.weights is not None:
        row["weights"] = one.weights
    row["validation"] = round(one.validation, 4)
    if one.test is not None:
        row["test"] = round(one.test, 4)
    return {**row, "external": one.external} if one.external else row


def _everything(bench: Bench, arguments: argparse.Namespace) -> Iterator[Made]:
    if "float" in arguments.ways:
        yield from bench.plain()
    if "int8" in arguments.ways:
        yield from bench.int8()
    if "torchao" in arguments.ways:
        yield from bench.torchao()
    if "nncodec" in arguments.ways and arguments.nncodec_python:
        yield from bench.nncodec(arguments.nncodec_python, arguments.nncodec_script, arguments.qp)
    for name in METHODS:
        # Deep Compression is nothing without training.
        if name in arguments.ways and (arguments.epochs or name == "squeezekit"):
            yield from bench.method(name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, help="where everything that is made is kept")
    parser.add_argument("--epochs", type=int, default=4, help="of each round of training; 0: none")
    parser.add_argument("--max-drop", type=float, default=3.0, help="points of validation accuracy at which training stops")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="what to try; default everything")
    parser.add_argument("--nncodec-python", help="the interpreter that has nncodec")
    parser.add_argument("--nncodec-script", help="nncodec_size.py")
    parser.add_argument("--qp", type=int, nargs="+", default=QUANTISATION, help="of nncodec; higher is coarser")
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
