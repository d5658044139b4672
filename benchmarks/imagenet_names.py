"""How often does a network of ImageNet's 1,000 classes name photos of imagenette right?

    python benchmarks/imagenet_names.py MODEL FOLDER [--pattern 'ILSVRC2012_val_*']

MODEL is a SqueezeNet. FOLDER holds imagenette (github.com/fastai/imagenette), its classes as folders by their WordNet numbers,
anywhere below; only those photos count, by default, that are of ImageNet's validation part, since the others have trained such
networks. One line of JSON: the share of photos named right among 1,000 classes and among imagenette's ten, each with its 95 %
interval (Wilson, 1927), and the same with the border that Caffe puts around the last convolution of SqueezeNet v1.0, which the
imported network leaves out.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.data.batches import Normalization
from squeezekit.data.image_file import read_image
from squeezekit.inference.model import Model, load_model
from squeezekit.pretrained.files import model_path

# Of ImageNet's classes, in their usual order.
IMAGENETTE = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}
NORMAL_95 = 1.959964
AT_ONCE = 20


def wilson(right: int, count: int) -> list[float]:
    """The 95 % interval of a share, `right` of `count`."""
    share, z = right / count, NORMAL_95
    middle, half = share + z**2 / (2 * count), z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [round((middle + sign * half) / (1 + z**2 / count), 4) for sign in (-1, 1)]


def with_border(network: nn.Module, features: Tensor) -> Tensor:
    """Logits [n, classes] of a SqueezeNet whose last convolution has a border of one pixel."""
    return F.relu(network.classifier[1](F.pad(features, (1, 1, 1, 1)))).mean((2, 3))


def logits_of(model: Model, paths: list[Path]) -> tuple[Tensor, Tensor]:
    """Logits [n, classes] of photos, without and with the border."""
    size, normalized = model.config.image_size, Normalization(model.config.mean, model.config.std)
    found = []
    with torch.inference_mode():
        for begin in range(0, len(paths), AT_ONCE):
            pixels = np.stack([read_image(path, size, 3) for path in paths[begin : begin + AT_ONCE]])
            images = normalized(torch.from_numpy(pixels))
            features = model.network.features(images)
            found.append((model.network.classifier(features), with_border(model.network, features)))
    return torch.cat([one for one, _ in found]), torch.cat([other for _, other in found])


def shares(logits: Tensor, labels: Tensor) -> dict[str, object]:
    """Right answers among all classes, and among the ten."""
    ten = torch.tensor(list(IMAGENETTE.values()))
    rights = {"top1": logits.argmax(1) == labels, "top1_of_ten": ten[logits[:, ten].argmax(1)] == labels}
    line: dict[str, object] = {}
    for name, right in rights.items():
        line |= {name: round(float(right.float().mean()), 4), f"{name}_interval": wilson(int(right.sum()), len(labels))}
    return line


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pattern", default="ILSVRC2012_val_*")
    given = parser.parse_args()
    paths = sorted(path for path in given.folder.rglob(given.pattern) if path.parent.name in IMAGENETTE)
    if not paths:
        parser.error(f"{given.folder}: holds no such photos of imagenette")
    labels = torch.tensor([IMAGENETTE[path.parent.name] for path in paths])
    logits, bordered = logits_of(load_model(given.model), paths)
    same = float((logits.argmax(1) == bordered.argmax(1)).float().mean())
    size = model_path(given.model).stat().st_size
    line = {"model": given.model, "bytes": size, "photos": len(paths), **shares(logits, labels)}
    print(json.dumps(line | {"with_border": shares(bordered, labels), "same_answers": round(same, 4)}))
