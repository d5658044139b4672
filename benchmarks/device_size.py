"""What does squeezekit-device take on disk, in memory and in time?

    python benchmarks/device_size.py [--runs 9]

Builds its wheel, and installs it into two new environments, without and with the extra `updates`, packages from the index in the
versions of constraints.txt. Prints one JSON line: megabytes (10**6 bytes of files) that each installation adds to an empty
environment; of `squeezekit-device predict` with cifar10-nano and a photo of 1,600 × 1,200 pixels that is drawn here, a process
a run, the median and the least of its seconds from start to end, the median of its seconds of a processor, and the most megabytes
of memory; whether the logits of every pretrained network are those of the integer reference, to the bit; and how busy the machine
was: its load, and the priority that this script had (`nice -n -20`: nothing else gets its core).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.reference import IntegerNetwork
from squeezekit.pretrained.files import model_path, pretrained_names

ROOT = Path(__file__).parents[1]
PICTURES = 8
LOGITS = """
import sys
from squeezekit_device import Classifier
for model, pictures in zip(sys.argv[1::2], sys.argv[2::2]):
    device = Classifier(model)
    image, data = device.model.plan.feature_maps[0].bytes, open(pictures, "rb").read()
    print([device.logits(data[begin : begin + image]) for begin in range(0, len(data), image)])
"""
MEASURE = """
import os, sys, time
for _ in range(int(sys.argv[1])):
    begin, child = time.perf_counter(), os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(sys.argv[2], sys.argv[2:])
    _, status, used = os.wait4(child, 0)
    assert status == 0
    print([time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6])
"""


def installed(folder: Path, wheel: Path, extra: str = "") -> float:
    """Install into a new environment; returns megabytes."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", folder / "bin" / "python"]
    subprocess.run([*pip, "install", "-c", ROOT / "constraints.txt", f"{wheel}{extra}"], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    return round(sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6, 1)


def photo(path: Path) -> None:
    """A picture of a camera's size, of smooth colours and some noise."""
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)).resize((1600, 1200), Image.Resampling.BICUBIC)
    noisy = np.asarray(small).astype(int) + random.integers(-10, 11, (1200, 1600, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def measured_runs(command: list[str | Path], runs: int) -> list[tuple[float, float, float]]:
    """Of each run seconds from start to end, seconds of a processor, and megabytes at most.

    Started by a small process: what a large one has in memory would count as that of its children.
    """
    measuring = [sys.executable, "-I", "-S", "-c", MEASURE, str(runs), *command]
    found = subprocess.run(list(map(str, measuring)), check=True, capture_output=True, text=True).stdout
    return [tuple(json.loads(line)) for line in found.splitlines()]


def same_bits(python: Path, folder: Path) -> bool:
    """Whether the device's logits are those of the reference."""
    arguments, wanted = list[Path](), list[Any]()
    for name in pretrained_names():
        plan = integer_plan(load_model(name))
        image = plan.feature_maps[0]
        pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, image.height, image.width, image.channels), np.uint8)
        (folder / name).write_bytes(pixels.tobytes())
        arguments += [model_path(name), folder / name]
        wanted.append(IntegerNetwork(plan).integers(torch.from_numpy(pixels).permute(0, 3, 1, 2)).tolist())
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = list(map(str, [python, "-c", LOGITS, *arguments]))
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=variables, cwd=folder).stdout
    return [json.loads(line) for line in found.splitlines()] == wanted


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT / "device"], check=True)
        (wheel,) = folder.glob("*.whl")
        sizes = [installed(folder / "plain", wheel), installed(folder / "all", wheel, "[updates]")]
        photo(folder / "photo.jpg")
        command = [folder / "plain" / "bin" / "squeezekit-device", "predict", model_path("cifar10-nano"), folder / "photo.jpg"]
        # The first one compiles Python's files.
        seconds, processor, memory = zip(*measured_runs(command, runs + 1)[1:], strict=True)
        line = {
            "installed_mb": sizes[0],
            "with_updates_mb": sizes[1],
            "wheel_kb": round(wheel.stat().st_size / 1e3, 1),
            "predict_seconds": round(statistics.median(seconds), 3),
            "predict_least_seconds": round(min(seconds), 3),
            "predict_processor_seconds": round(statistics.median(processor), 3),
            "predict_mb": round(max(memory), 1),
            "same_bits": same_bits(folder / "plain" / "bin" / "python", folder),
            "runs": runs,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "load": round(os.getloadavg()[0], 1),
            "nice": os.nice(0),
        }
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
