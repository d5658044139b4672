"""Does a QONNX file answer as the integers do that it was made from?

    python benchmarks/qonnx_answers.py IMAGES [MODEL ...] [--pictures N]

The first N test pictures through Python's integers and through the executor of the package `qonnx`, node by node, by default of
the pretrained models of CIFAR-10; prints one JSON line a model: how many labels differ, and by how many of the integers' steps
logits do.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.change_batchsize import ChangeBatchSize
from qonnx.transformation.infer_shapes import InferShapes

from squeezekit.export.qonnx_graph import graph_of
from squeezekit.inference.evaluation import own_images
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.plan import IntegerPlan
from squeezekit.integer.reference import IntegerNetwork
from squeezekit.pretrained.files import model_path

MODELS = ["cifar10-pico", "cifar10-nano", "cifar10-tiny", "cifar10-small"]


def in_qonnx(plan: IntegerPlan, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Logits [n, classes] in the integers' steps."""
    # A session is made for each node, which takes longer than its pictures.
    graph = ModelWrapper(graph_of(plan)).transform(ChangeBatchSize(len(pictures))).transform(InferShapes())
    answer = execute_onnx(graph, {"images": pictures.transpose(0, 3, 1, 2).astype(np.float32)})
    logits: NDArray[np.float64] = answer["logits"] * 2.0**plan.fraction
    return logits


def row(name: str, images: str, pictures: int) -> dict[str, Any]:
    """The line of a model."""
    path = model_path(name)
    model = load_model(path)
    plan = integer_plan(model)
    shown = np.array(own_images(model, images).test.images[:pictures])
    with torch.inference_mode():
        expected = IntegerNetwork(plan).integers(torch.from_numpy(shown).permute(0, 3, 1, 2)).numpy()
    answers = in_qonnx(plan, shown)
    difference = np.abs(answers - expected)
    return {
        "model": Path(name).stem,
        "qonnx": version("qonnx"),
        "bytes": len(graph_of(plan).SerializeToString()),
        "pictures": len(shown),
        "other_labels": int((answers.argmax(1) != expected.argmax(1)).sum()),
        "pictures_beyond_a_step": int((difference.max(1) > 1).sum()),
        "largest_difference": round(float(difference.max()) * 2.0**-plan.fraction, 6),
        "largest_steps": round(float(difference.max()), 2),
        "largest_logit": round(float(np.abs(expected).max()) * 2.0**-plan.fraction, 3),
    }


def main() -> None:
    """Parse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="a folder with the test images")
    parser.add_argument("models", nargs="*", default=MODELS, help="files, or names in squeezekit models")
    parser.add_argument("--pictures", type=int, default=200, metavar="N", help="of the test images (default 200)")
    given = parser.parse_args()
    for name in given.models:
        print(json.dumps(row(name, given.images, given.pictures)), flush=True)


if __name__ == "__main__":
    main()
