"""How long does one image take, beside ONNX Runtime, PyTorch and LiteRT?

    python benchmarks/inference.py MODEL [--data IMAGES] [--compilers gcc zig clang] [--rounds 5] [--node NODE]
        [--litert-python PYTHON]

One thread, one image at a time, all in turn in each round; a measurement is the median of the calls of `--seconds`, and prints
one JSON line. C: what `export --format c` writes, as a shared library, by each compiler with `-O3 -march=native`, and by the
first of them without vectors. ONNX: what `export --format onnx` writes, in floats and with `--int8`. PyTorch: the same network,
batch normalization folded, channels last. The page that `export --format html` writes, `--node` given: its WebAssembly in Node,
which has the engine of Chromium (`page_speed.mjs`). LiteRT, its interpreter given by a flag (`pip install ai-edge-litert`): an
int8 network of the same layers and of random weights, with XNNPACK (`peers/litert_int8.py`). `gmacs` are 10**9 MACs a second,
of the network as the layer table counts them; `bytes` the size of what is deployed, for C that of its constants. Last comes one
line each: the median of the rounds, their range, and the ratio to the time of the first compiler's C.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from squeezekit.acceleration.folding import folded
from squeezekit.export.c.export import export_c
from squeezekit.export.html.export import export_html
from squeezekit.export.onnx import export_onnx
from squeezekit.inference.model import Model, load_model
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.layer_table import layer_table
from squeezekit.system.machine import processor_name

COMPILERS = {"gcc": ["gcc"], "clang": ["clang"], "zig": [sys.executable, "-m", "ziglang", "cc"]}
SCALAR = {"gcc": ["-fno-tree-vectorize", "-fno-tree-slp-vectorize"]}
SCALAR["clang"] = SCALAR["zig"] = ["-fno-vectorize", "-fno-slp-vectorize"]
# Without AVX2, products.c has no instructions of its own.
PLAIN = ["-mno-avx2"] if platform.machine() in ("x86_64", "AMD64") else []
PEER = Path(__file__).parent / "peers" / "litert_int8.py"
PAGE = Path(__file__).parent / "page_speed.mjs"
Call = Callable[[], Any]


def median_ms(call: Call, seconds: float) -> float:
    """Of single calls, at least three, after one and a tenth of the time to warm up."""
    begin = time.perf_counter()
    call()
    while time.perf_counter() - begin < seconds / 10:
        call()
    times: list[float] = []
    while time.perf_counter() - begin < seconds or len(times) < 3:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return 1e3 * statistics.median(times)


def library(folder: Path, compiler: str, flags: list[str]) -> ctypes.CDLL:
    """An exported network, compiled."""
    made = folder / f"{compiler}{len(flags)}.so"
    command = [*COMPILERS[compiler], "-std=c99", "-O3", "-march=native", *flags, "-shared", "-fPIC", "-o", made]
    subprocess.run(list(map(str, [*command, folder / "classifier.c"])), check=True)
    return ctypes.CDLL(str(made))


def c_call(loaded: ctypes.CDLL, image: Any, classes: int) -> Call:
    """One image through a library."""
    pixels, logits = np.ascontiguousarray(image.permute(0, 2, 3, 1).numpy()), np.zeros(classes, np.int32)
    places = [array.ctypes.data_as(ctypes.c_void_p) for array in (pixels, logits)]
    loaded.classifier_start()

    def call() -> Any:
        loaded.classifier_run(*places)
        return pixels, logits

    return call


def onnx_call(path: Path, image: Any) -> Call:
    """One image through ONNX Runtime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    pixels = {"images": image.numpy()}
    return lambda: session.run(None, pixels)


def torch_call(model: Any, image: Any) -> Call:
    """One image through PyTorch, normalization left out."""
    network = folded(model.network).to(memory_format=torch.channels_last)
    floats = (image / 255).contiguous(memory_format=torch.channels_last)

    def call() -> Any:
        with torch.inference_mode():
            return network(floats)

    return call


def images_for_integers(model: Model, data: str | None) -> str | None:
    """None for a file that states its ranges: with images every export would measure its accuracy, for minutes."""
    path = Path(model.name)
    return None if path.is_file() and read_sqz(path).activation_ranges else data


def contenders(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int, Call]]:
    """Who, bytes, and a call."""
    model = load_model(arguments.run)
    side = model.config.image_size
    image = torch.randint(0, 256, (1, model.config.channels, side, side), dtype=torch.uint8)
    made = export_c(arguments.run, folder / "c", data=images_for_integers(model, arguments.data))
    first = arguments.compilers[0]
    kinds = [(f"C, {compiler}", compiler, []) for compiler in arguments.compilers]
    for who, compiler, flags in [*kinds, (f"C, {first}, no vectors", first, [*PLAIN, *SCALAR[first]])]:
        yield who, made.constants, c_call(library(folder / "c", compiler, flags), image, model.config.classes)
    for who, int8 in (("ONNX Runtime, int8", True), ("ONNX Runtime, fp32", False)):
        exported = export_onnx(arguments.run, folder / f"{int8}.onnx", int8=int8, data=arguments.data)
        yield who, exported.bytes, onnx_call(Path(exported.file), image)
    yield "PyTorch, fp32", sum(4 * p.numel() for p in model.network.parameters()), torch_call(model, image)


def programs(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Who, bytes, and a command that takes seconds as its last argument and prints JSON."""
    if arguments.node:
        images = images_for_integers(load_model(arguments.run), arguments.data)
        page = export_html(arguments.run, folder / "page.html", data=images)
        yield "WebAssembly of the page, Node", page.bytes, [arguments.node, str(PAGE), page.file]
    if arguments.litert_python:
        config = load_model(arguments.run).config
        arguments_of_peer = [config.model_dump_json(), json.dumps(config.fire_widths())]
        yield "LiteRT, int8", 0, [arguments.litert_python, str(PEER), *arguments_of_peer]


def last_json_line(*command: str) -> dict[str, Any]:
    """The last line, JSON, of another program."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a measurement, all in turn in each round."""
    config = load_model(arguments.run).config
    macs = layer_table(config).macs
    about = {"model": str(arguments.run), "network": config.name, "macs": macs}
    with tempfile.TemporaryDirectory() as folder:
        calls, others = list(contenders(arguments, Path(folder))), list(programs(arguments, Path(folder)))
        torch.set_num_threads(1)
        for number in range(arguments.rounds):
            for who, size, call in calls:
                ms = median_ms(call, arguments.seconds)
                yield {"round": number, "who": who, **about, "bytes": size, **rate(ms, macs)}
            for who, size, command in others:
                found = last_json_line(*command, str(arguments.seconds))
                yield {"round": number, "who": who, **about, "bytes": found.get("bytes", size), **rate(found["ms"], macs)}


def rate(ms: float, macs: int) -> dict[str, float]:
    """A time, and 10**9 MACs a second."""
    return {"ms": round(ms, 4), "gmacs": round(macs / ms / 1e6, 1)}


def summary(measured: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row each: median, range, and the ratio to the first, round by round."""
    by_who: dict[str, list[dict[str, Any]]] = {}
    for row in measured:
        by_who.setdefault(row["who"], []).append(row)
    first = [row["ms"] for row in next(iter(by_who.values()))]
    for who, found in by_who.items():
        times = [row["ms"] for row in found]
        ratio = statistics.median(ms / ours for ms, ours in zip(times, first, strict=True))
        about = {key: found[0][key] for key in ("model", "network", "macs", "bytes")}
        middle = statistics.median(times)
        line = {
            "who": who,
            **about,
            **rate(middle, found[0]["macs"]),
            "range": [min(times), max(times)],
            "ratio": round(ratio, 2),
        }
        yield {**line, "processor": processor_name()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder or a file of the SqueezeNet family, or a name in squeezekit models")
    parser.add_argument("--data", help="where its images are, if not where they were")
    parser.add_argument(
        "--compilers", nargs="+", default=["gcc"], choices=COMPILERS, help="of the C code; the first is the measure"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--node", help="the interpreter of JavaScript")
    parser.add_argument("--litert-python", help="the interpreter that has LiteRT")
    arguments = parser.parse_args()
    found = []
    for row in rows(arguments):
        found.append(row)
        print(json.dumps(row), flush=True)
    for row in summary(found):
        print(json.dumps(row), flush=True)
