"""What does a coder make of weights that are quantised already?

    python benchmarks/coding.py RUN [RUN …] [--steps 0.3 0.5 0.8 1.2]
        [--nncodec-python PYTHON --nncodec-script nncodec_size.py]

Each convolution of a run is rounded to multiples of one step, that many standard deviations of its weights; nothing else
is lost. Bytes of: the order-0 entropy of each layer with its steps at four bytes, Huffman (a code a layer, its table counted),
xz, brotli and zstd at their highest levels (one int8 a weight, layer by layer in one stream, and the steps), the coder of
`nncodec` without dependent quantisation (its interpreter and script given by flags; the steps added), and `encode_tensors`;
everything that these two write is counted. Prints one JSON line a run and a step. brotli and zstandard are left out where
they are not installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import lzma
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from squeezekit.codec.huffman import coded_bytes
from squeezekit.codec.tensors import decode_tensors, encode_tensors


def quantized(run: Path, step: float) -> dict[str, tuple[NDArray[np.int64], np.float32]]:
    """Integers and step of every convolution."""
    weights = {name: array for name, array in load_file(run / "best.safetensors").items() if array.ndim == 4}
    steps = {name: np.float32(step * array.std()) for name, array in weights.items()}
    return {name: (np.rint(array / steps[name]).astype(np.int64), steps[name]) for name, array in weights.items()}


def entropy_bytes(integers: NDArray[np.int64]) -> float:
    """Order-0."""
    counts = np.unique(integers, return_counts=True)[1]
    return float(-(counts * np.log2(counts / integers.size)).sum() / 8)


def nncodec_bytes(layers: dict[str, tuple[NDArray[np.int64], np.float32]], python: str, script: str) -> int:
    """What its coder makes of the integers."""
    coder = Path(__file__).parent / "peers" / "nncodec_coder.py"
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/integers.npz"
        np.savez(path, **{name: integers for name, (integers, _) in layers.items()})
        done = subprocess.run([python, str(coder), script, path], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"nncodec failed:\n{done.stderr}")
    return int(json.loads(done.stdout.splitlines()[-1])["bytes"])


def row(run: Path, step: float, nncodec: tuple[str, str] | None) -> dict[str, Any]:
    """Every coder's bytes for one run and step."""
    layers = quantized(run, step)
    tables = 4 * len(layers)
    flat = b"".join(integers.astype(np.int8).tobytes() for integers, _ in layers.values())
    arrays = {name: integers.astype(np.float32) * scale for name, (integers, scale) in layers.items()}
    begin = time.perf_counter()
    ours = encode_tensors(arrays)
    written = time.perf_counter()
    decoded = decode_tensors(ours)
    read = time.perf_counter()
    assert all(decoded[name].tobytes() == array.tobytes() for name, array in arrays.items())
    entropy = sum(entropy_bytes(integers) for integers, _ in layers.values()) + tables
    return {
        "run": run.name,
        "step": step,
        "weights": sum(array.size for array in arrays.values()),
        "entropy": round(entropy),
        "huffman": sum(coded_bytes(Counter(integers.ravel().tolist())) for integers, _ in layers.values()) + tables,
        "xz": len(lzma.compress(flat, preset=9 | lzma.PRESET_EXTREME)) + tables,
        "brotli": _with("brotli", lambda brotli: brotli.compress(flat, quality=11, lgwin=24), tables),
        "zstd": _with("zstandard", lambda zstandard: zstandard.ZstdCompressor(level=22).compress(flat), tables),
        "nncodec": nncodec_bytes(layers, *nncodec) + tables if nncodec else None,
        "squeezekit": len(ours),
        "of_entropy": round(len(ours) / entropy, 4),
        "write_s": round(written - begin, 3),
        "read_s": round(read - written, 3),
    }


def _with(module: str, compress: Any, tables: int) -> int | None:
    try:
        return len(compress(importlib.import_module(module))) + tables
    except ImportError:
        return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--steps", nargs="+", type=float, default=[0.3, 0.5, 0.8, 1.2])
    parser.add_argument("--nncodec-python", help="the interpreter that has nncodec")
    parser.add_argument("--nncodec-script", help="nncodec_size.py")
    arguments = parser.parse_args()
    nncodec = (arguments.nncodec_python, arguments.nncodec_script) if arguments.nncodec_python else None
    # So that no time below holds the compilation of the loops.
    encode_tensors({"warm": np.arange(-2, 3, dtype=np.float32)})
    decode_tensors(encode_tensors({"warm": np.arange(-2, 3, dtype=np.float32)}))
    for run in arguments.runs:
        for step in arguments.steps:
            print(json.dumps(row(run, step, nncodec)), flush=True)
