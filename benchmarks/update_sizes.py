"""How many bytes bring a pretrained network to its next version?

    python benchmarks/update_sizes.py IMAGES --out FOLDER [--networks cifar10-nano cifar10-tiny]

Pairs of files: `dusk`, the network after eight epochs of fine-tuning on a tenth of the training images, made dark and grainy as
a camera would at dusk, compressed with `delta_from` the old file; and `last layer`, where the last layer alone has learnt from
them. For each pair: the bytes of the new file, of squeezekit's delta, of bsdiff (bsdiff4) and of zstd with the old file as its
dictionary (zstandard, level 22); and the accuracy of both files on all test images at dusk and, unchanged, by day. What has been
trained is kept in FOLDER. Prints one JSON line a pair. Needs `pip install bsdiff4 zstandard`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bsdiff4
import numpy as np
import torch
import torch.nn.functional as F
import zstandard
from PIL import Image
from torch import Tensor, nn

from squeezekit import fine_tune
from squeezekit.codec.encodings import GridEncoding, Quantized
from squeezekit.compression.compress import compress
from squeezekit.data.batches import Batches
from squeezekit.data.image_folder import load_folder
from squeezekit.modelfile.delta import apply_delta, delta_between
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.modelfile.sqz import Sqz, from_bytes
from squeezekit.networks.named_layers import logits_of_one_side, named_layers
from squeezekit.pretrained.files import model_path
from squeezekit.training.measurement import measure

BRIGHTNESS, GRAIN = 0.3, 8.0
TENTH, EPOCHS = 10, 8


def dusk(images: Path, out: Path) -> Path:
    """A folder with a tenth of the training images and all test images, as at dusk."""
    if (out / "done").exists():
        return out / "images"
    shutil.rmtree(out, ignore_errors=True)
    random = np.random.default_rng(0)
    for part, step in (("train", TENTH), ("test", 1)):
        for folder in sorted((images / part).iterdir()):
            place = out / "images" / part / folder.name
            place.mkdir(parents=True)
            for path in sorted(folder.iterdir())[::step]:
                pixels = np.asarray(Image.open(path), np.float32) * BRIGHTNESS
                pixels += random.normal(0, GRAIN, pixels.shape)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{path.stem}.png")
    (out / "done").touch()
    return out / "images"


def tuned(name: str, images: Path, out: Path) -> bytes:
    """The network fine-tuned there, compressed with `delta_from` the old file."""
    file = out / f"{name}-dusk.sqz"
    if not file.exists():
        run = fine_tune(name, str(images), out=out / name, epochs=EPOCHS, test=False, resume=True)
        compress(run.folder, file, delta_from=name, resume=file.with_name(f"{file.name}.work").exists())
    return file.read_bytes()


def last_layer(name: str, training: Batches) -> bytes:
    """The network whose last layer alone has learnt, rounded to its old grid."""
    sqz = from_bytes(model_path(name).read_bytes())
    network = sqz.build()
    head = named_layers(network)[-1]
    inputs, labels = inputs_of(head.module, network, training)
    assert head.module.bias is not None
    weight = head.module.weight.detach().flatten(1).clone().requires_grad_()
    bias = head.module.bias.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(inputs @ weight.T + bias, labels).backward()
        optimizer.step()
    old, steps = sqz.weights[f"{head.name}.weight"], np.asarray(sqz.weights[f"{head.name}.bias"])
    assert isinstance(old, Quantized)
    integers = np.rint(weight.detach().numpy() / old.scales[:, None]).astype(np.int64).reshape(old.shape)
    step = getattr(GridEncoding.of(steps), "step", np.float32(1))
    learnt = {f"{head.name}.weight": Quantized(integers, old.scales)}
    learnt[f"{head.name}.bias"] = np.rint(bias.detach().numpy() / step).astype(np.float32) * step
    new = replace(sqz, weights={**sqz.weights, **learnt})
    return replace(new, self_check=SelfCheck.of(new.build(), new.network)).to_bytes()


def inputs_of(layer: nn.Module, network: nn.Module, images: Batches) -> tuple[Tensor, Tensor]:
    """What a layer sees of all images, [n, c], and their labels."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0].flatten(1)))
    labels = []
    with torch.no_grad():
        for batch, of_batch in images.in_order():
            logits_of_one_side(network, batch)
            labels.append(of_batch)
    handle.remove()
    return torch.cat(seen), torch.cat(labels)


def batches(images: Any, sqz: Sqz) -> Batches:
    return Batches(images, mean=sqz.network.mean, std=sqz.network.std, batch_size=256)


def rows(names: list[str], images: Path, out: Path) -> Iterator[dict[str, Any]]:
    """One for each pair."""
    night = dusk(images, out / "dusk")
    dark = load_folder(night, image_size=32, channels=3)
    day = load_folder(images, image_size=32, channels=3)
    for name in names:
        old = model_path(name).read_bytes()
        pairs = {"dusk": tuned(name, night, out), "last layer": last_layer(name, batches(dark.training, from_bytes(old)))}
        for kind, new in pairs.items():
            delta = delta_between(old, new)
            assert delta is not None and apply_delta(old, delta) == new
            accuracy = {
                f"{when} {what}": measure(from_bytes(data).build(), batches(source.test, from_bytes(data))).accuracy
                for when, source in (("dusk", dark), ("day", day))
                for what, data in (("before", old), ("after", new))
            }
            dictionary = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
            patch = zstandard.ZstdCompressor(level=22, dict_data=dictionary).compress(new)
            bytes_of = {"file": len(new), "delta": len(delta), "bsdiff": len(bsdiff4.diff(old, new)), "zstd": len(patch)}
            yield {"network": name, "pair": kind, **bytes_of, "share": round(len(delta) / len(new), 4), "accuracy": accuracy}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder with train/<class>/… and test/<class>/…")
    parser.add_argument("--out", type=Path, required=True, help="where what was trained is kept")
    parser.add_argument("--networks", nargs="+", default=["cifar10-nano", "cifar10-tiny"])
    arguments = parser.parse_args()
    for row in rows(arguments.networks, arguments.images, arguments.out):
        print(json.dumps(row), flush=True)
