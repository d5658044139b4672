"""Does a model answer the same everywhere? Its accuracy in integers, and who differs from them.

    python benchmarks/equal_answers.py MODEL [--data IMAGES] [--emulated 200] [--node node]
    python benchmarks/equal_answers.py MODEL [--data IMAGES] [--emulated 200] --processors cortex-m55 …

All test pictures through Python's integers, the C of `export --format c` (gcc, -O3 -march=native; all weights, and without
zeros), the WebAssembly of `export --format html` in Node, and the graph of `export --format onnx --int8` in ONNX Runtime; so many
of them, spread evenly, through C on an emulated AArch64 and Cortex-M4. Prints one JSON line: `accuracy` is that of the integers;
of each other the number of pictures, of those with other logits, and with other labels. ONNX rounds in another way: of it the
largest difference of a logit. With `--processors` only C on these emulated ones, with weights in every form.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from emulated import MACHINES, said
from squeezekit.data.image_set import ImageSet
from squeezekit.export.c.source import source_of
from squeezekit.export.c.tables import StoreWeights
from squeezekit.export.html.export import export_html
from squeezekit.export.onnx import export_onnx
from squeezekit.inference.evaluation import own_images
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.reference import IntegerNetwork
from squeezekit.pretrained.files import model_path
from squeezekit.system import atomic_io

Pictures = NDArray[np.uint8]
Logits = NDArray[np.int64]
STORED: dict[str, StoreWeights] = {"C, x86": "dense", "C, x86, without zeros": "sparse"}
EMULATED = {"C, AArch64": "aarch64", "C, Cortex-M4": "cortex-m4"}
# The board's program holds its pictures in flash.
PICTURE_BYTES = 2_000_000


def in_python(network: IntegerNetwork, pictures: Pictures) -> Logits:
    """Logits [n, classes]."""
    parts = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).split(250)
    with torch.inference_mode():
        return torch.cat([network.integers(part) for part in parts]).numpy()


def in_c(files: Mapping[str, str], pictures: Pictures, classes: int, folder: Path) -> Logits:
    """Through a library that gcc makes of them."""
    atomic_io.write_folder(folder, files)
    flags = ["-std=c99", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(folder / "classifier.so")]
    subprocess.run(["gcc", *flags, str(folder / "classifier.c")], check=True)
    library = ctypes.CDLL(str(folder / "classifier.so"))
    library.classifier_start()
    found = np.zeros((len(pictures), classes), np.int32)
    for picture, logits in zip(pictures, found, strict=True):
        library.classifier_run(*(array.ctypes.data_as(ctypes.c_void_p) for array in (picture, logits)))
    return found.astype(np.int64)


def in_page(page: Path, pictures: Pictures, node: str) -> Logits:
    """Through the WebAssembly of a page."""
    raw = page.with_name("pictures.raw")
    pictures.tofile(raw)
    command = [node, str(Path(__file__).with_name("page_answers.mjs")), str(page), str(raw)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return np.array([json.loads(line) for line in done.stdout.splitlines()])


def emulated(files: Mapping[str, str], pictures: Pictures, machine: str) -> Logits:
    """On an emulated processor, so many pictures at once as its flash holds."""
    at_once = max(1, PICTURE_BYTES // pictures[0].nbytes)
    starts = range(0, len(pictures), at_once)
    return np.concatenate([said(files, pictures[start : start + at_once], machine) for start in starts])


def in_onnx(graph: Path, pictures: Pictures) -> NDArray[np.float32]:
    """Float logits of ONNX Runtime."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    parts = np.array_split(pictures.transpose(0, 3, 1, 2), max(1, len(pictures) // 250))
    return np.concatenate([session.run(None, {"images": np.ascontiguousarray(part)})[0] for part in parts])


def compared(found: Logits, expected: Logits) -> dict[str, int]:
    """How many pictures, and how many of them with other logits and other labels."""
    logits, labels = (found != expected).any(1), found.argmax(1) != expected.argmax(1)
    return {"pictures": len(found), "other_logits": int(logits.sum()), "other_labels": int(labels.sum())}


def row(name: str, images: ImageSet, data: str | None, emulated_pictures: int, node: str) -> dict[str, Any]:
    """The line of a model."""
    path = model_path(name)
    model = load_model(path)
    plan = integer_plan(model)
    expected, classes = in_python(IntegerNetwork(plan), images.images), len(images.classes)
    right = expected.argmax(1) == images.labels
    found: dict[str, Any] = {"model": name, "bytes": path.stat().st_size, "pictures": len(right)}
    found |= {"accuracy": round(float(right.mean()), 5), "others": {}}
    files = {who: source_of(plan, model, store_weights=stored).files for who, stored in STORED.items()}
    some = np.linspace(0, len(right) - 1, min(emulated_pictures, len(right))).astype(int)
    with tempfile.TemporaryDirectory() as place:
        for who, stored in STORED.items():
            answers = in_c(files[who], images.images, classes, Path(place) / stored)
            found["others"][who] = compared(answers, expected)
        page = export_html(path, Path(place) / "page.html").file
        found["others"]["WebAssembly"] = compared(in_page(Path(page), images.images, node), expected)
        graph = Path(export_onnx(path, Path(place) / "int8.onnx", int8=True, data=data).file)
        floats = in_onnx(graph, images.images)
    for who, machine in EMULATED.items():
        answers = emulated(files["C, x86"], images.images[some], machine)
        found["others"][who] = compared(answers, expected[some])
    other, difference = floats.argmax(1) != expected.argmax(1), floats - expected * 2.0**-plan.fraction
    found["onnx"] = {"other_labels": int(other.sum()), "largest_difference": round(float(np.abs(difference).max()), 4)}
    return found


def processors_row(name: str, images: ImageSet, processors: list[str], emulated_pictures: int) -> dict[str, Any]:
    """The line of a model on some emulated processors."""
    model = load_model(model_path(name))
    plan = integer_plan(model)
    some = np.linspace(0, len(images) - 1, min(emulated_pictures, len(images))).astype(int)
    pictures, found = images.images[some], dict[str, dict[str, int]]()
    expected = in_python(IntegerNetwork(plan), pictures)
    for stored in get_args(StoreWeights):
        files = source_of(plan, model, store_weights=stored).files
        for machine in processors:
            found[f"{machine}, {stored}"] = compared(emulated(files, pictures, machine), expected)
    return {"model": name, "others": found}


def main() -> None:
    """Parse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a .sqz file, or a name in squeezekit models")
    parser.add_argument("--data", help="where its images are")
    parser.add_argument("--emulated", type=int, default=200, help="pictures on emulated processors")
    parser.add_argument("--node", default="node", help="the interpreter of JavaScript")
    parser.add_argument("--processors", nargs="+", choices=MACHINES, metavar="NAME", help="only these emulated ones")
    given = parser.parse_args()
    images = own_images(load_model(model_path(given.model)), given.data).test
    if given.processors:
        print(json.dumps(processors_row(given.model, images, given.processors, given.emulated)), flush=True)
        return
    print(json.dumps(row(given.model, images, given.data, given.emulated, given.node)), flush=True)


if __name__ == "__main__":
    main()
