"""What hostile files cost whoever reads them: before a change and after, in turn.

    python benchmarks/hostile_files.py SOURCE [SOURCE ...] [--rounds 3] [--side 7000] [--images 60000]

Each SOURCE is the `src` folder of a checkout. Every file is read in a process of its own, of at most four gigabytes and a minute.
One JSON line a measurement: what became of the file, seconds, and megabytes beyond those of the imports. The files are made here:
a lossless WebP and a grey PNG of 16 bits of SIDE × SIDE pixels of one colour, a progressive JPEG of 2,000 scans, a CIFAR-10
archive whose labels are lists in lists, 2²⁴ numbers in all; and, as what must not become slower, an archive of
honest images. Memory is read as Linux tells it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

MEGABYTES, SECONDS = 4096, 60
READ = f"""
import json, re, resource, sys, time
path = sys.argv[1]
# What getrusage says begins with the memory of the process that started this one.
peak = lambda: int(re.search("VmHWM: *(\\d+)", open("/proc/self/status").read().replace("\\t", " "))[1]) / 1024
if path.endswith(".tar"):
    from squeezekit.data.cifar10_archive import read_cifar10
    from pathlib import Path
    read = lambda: read_cifar10(Path(path))
else:
    from squeezekit.data.image_file import read_image
    read = lambda: read_image(path, 32, 3)
before = peak()
resource.setrlimit(resource.RLIMIT_AS, ({MEGABYTES} * 2**20,) * 2)
begin = time.perf_counter()
try:
    read()
    result = "read"
except Exception as error:
    result = type(error).__name__
seconds = time.perf_counter() - begin
print(json.dumps({{"result": result, "seconds": round(seconds, 2), "megabytes": round(peak() - before)}}))
"""


def picture(path: Path, side: int) -> None:
    """One colour in every pixel."""
    mode = "I;16" if path.suffix == ".png" else "RGB"
    Image.new(mode, (side, side), 20_000 if mode == "I;16" else (200, 60, 60)).save(path, lossless=True)


def scans(path: Path, side: int) -> None:
    """A progressive JPEG whose last scan comes 2,000 times."""
    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * 2000 + content[-2:])


def archive(path: Path, images: int, labels: Callable[[int], object]) -> None:
    """CIFAR-10 in six batches of so many images."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 3072), np.uint8)
    batch = pickle.dumps({b"data": pixels, b"labels": labels(images)}, protocol=4)
    with tarfile.open(path, "w") as tar:
        for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(batch)
            tar.addfile(member, io.BytesIO(batch))


def nested(_: int) -> object:
    """2²⁴ numbers, of which few are stored."""
    found: list[object] = [0, 1]
    for _ in range(23):
        found = [found, found]
    return found


def measured(source: Path, file: Path) -> dict[str, object]:
    """What became of a file, read by the code in `source`."""
    environment = {**os.environ, "PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ, str(file)], env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"result": "no end", "seconds": SECONDS}
    return json.loads(done.stdout) if done.returncode == 0 else {"result": f"the process ended with {done.returncode}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=7000)
    parser.add_argument("--images", type=int, default=60_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in ("one-colour.webp", "grey-16.png"):
            picture(folder / name, arguments.side)
        scans(folder / "scans.jpg", arguments.side)
        archive(folder / "nested.tar", 20, nested)
        archive(folder / "honest.tar", arguments.images // 6, lambda count: [number % 10 for number in range(count)])
        for number in range(arguments.rounds):
            for file in sorted(folder.iterdir()):
                for source in arguments.sources[:: -1 if number % 2 else 1]:
                    about = {"file": file.name, "bytes": file.stat().st_size, "source": str(source), "round": number + 1}
                    print(json.dumps({**about, **measured(source, file)}), flush=True)


if __name__ == "__main__":
    main()
