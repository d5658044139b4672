"""Does a TensorFlow Lite file answer as the integers do that it was made from?

    python benchmarks/tflite_answers.py IMAGES [MODEL ...]

All test pictures through Python's integers and through LiteRT's interpreter (`pip install ai-edge-litert`), by default of the
pretrained models of CIFAR-10; prints one JSON line a model. LiteRT has two sets of kernels: those of XNNPACK, which it takes by
itself, and its own, which round a sum twice, as TensorFlow Lite Micro does. Of each: how many labels differ from those of the
integers, the accuracy, and the largest and the mean difference of a logit, also in steps of `int8_step`, a 255th of the range of
all logits, which is the least that an int8 output would tell apart.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from squeezekit.data.image_set import ImageSet
from squeezekit.export.tflite import content_of
from squeezekit.inference.evaluation import own_images
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.reference import IntegerNetwork
from squeezekit.pretrained.files import model_path

MODELS = ["cifar10-pico", "cifar10-nano", "cifar10-tiny", "cifar10-small"]
KERNELS = {"XNNPACK": OpResolverType.AUTO, "built-in": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
Logits = NDArray[np.float64]


def in_python(network: IntegerNetwork, pictures: NDArray[np.uint8]) -> Logits:
    """Logits [n, classes]."""
    parts = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).split(250)
    with torch.inference_mode():
        integers = torch.cat([network.integers(part) for part in parts]).numpy()
    return integers * 2.0**-network.plan.fraction


def in_litert(content: bytes, pictures: NDArray[np.uint8], kernels: OpResolverType) -> Logits:
    """Logits [n, classes], one picture after the other."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kernels, num_threads=1)
    interpreter.allocate_tensors()
    (first,), (last,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for picture in pictures:
        interpreter.set_tensor(first["index"], (picture.astype(np.int16) - 128).astype(np.int8)[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(last["index"])[0])
    return np.array(found, np.float64)


def row(name: str, images: ImageSet) -> dict[str, Any]:
    """The line of a model."""
    path = model_path(name)
    model = load_model(path)
    plan = integer_plan(model)
    expected, content = in_python(IntegerNetwork(plan), images.images), content_of(plan, model)
    step = float(np.ptp(expected)) / 255

    def accuracy(logits: Logits) -> float:
        return round(float((logits.argmax(1) == images.labels).mean()), 5)

    found: dict[str, Any] = {"model": Path(name).stem, "sqz_bytes": path.stat().st_size, "tflite_bytes": len(content)}
    found |= {"pictures": len(expected), "accuracy": accuracy(expected), "int8_step": round(step, 5)}
    found |= {"litert": version("ai-edge-litert"), "kernels": {}}
    for kernels, kind in KERNELS.items():
        answers = in_litert(content, images.images, kind)
        difference, other = np.abs(answers - expected), answers.argmax(1) != expected.argmax(1)
        largest, mean = float(difference.max()), float(difference.mean())
        found["kernels"][kernels] = {
            "other_labels": int(other.sum()),
            "accuracy": accuracy(answers),
            "largest_difference": round(largest, 5),
            "mean_difference": round(mean, 6),
            "largest_steps": round(largest / step, 2),
            "mean_steps": round(mean / step, 4),
        }
    return found


def main() -> None:
    """Parse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="a folder with the test images")
    parser.add_argument("models", nargs="*", default=MODELS, help="files, or names in squeezekit models")
    given = parser.parse_args()
    for name in given.models:
        images = own_images(load_model(model_path(name)), given.images).test
        print(json.dumps(row(name, images)), flush=True)


if __name__ == "__main__":
    main()
