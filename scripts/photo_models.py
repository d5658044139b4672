"""The networks for photos: ImageNet's SqueezeNet v1.0, and what it is without its last Fire modules, taught to see small photos.

    python scripts/photo_models.py PHOTOS [PHOTOS …] --out OUT [--crops N] [--classes FOLDER]

PHOTOS are folders of photos; no labels are used. What is done is not done again, and what was stopped goes on with the same
command.

1. Distillation: a network that begins as SqueezeNet v1.0 sees crops of photos at 96 or 128 pixels, the original the same crops at
   160. What comes out of the sixth and of the eighth Fire module, mean and maximum of every feature map, is to be what the
   original has before its last layer (Romero et al., 2014, arXiv 1412.6550), after a linear layer of its own for the first.
2. The network as far as each of these modules, with a last layer for the classes of FOLDER, compressed: OUT/NAME.sqz.

Prints one JSON line for each step.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import squeezekit as sk
from squeezekit.data.batches import Normalization
from squeezekit.data.crops import Crops, kept_side
from squeezekit.data.image_file import UnreadableImageError, read_image
from squeezekit.data.picture_files import list_pictures
from squeezekit.inference.model import Model, load_model
from squeezekit.networks.fire import Fire
from squeezekit.networks.registry import network_config
from squeezekit.networks.squeezenet import SqueezeNet, SqueezeNetConfig
from squeezekit.networks.weights import read_saved
from squeezekit.system import atomic_io
from squeezekit.system.console import progress_bar, say
from squeezekit.system.seeds import generator

TEACHER = "squeezenet1_0-imagenet"
# ImageNet's validation photos stay unseen.
LEFT_OUT = "ILSVRC2012_val_"
BATCH, RATE, WARM_UP = 64, 2e-4, 0.1
# Sides at which crops are seen in turn, and at which the teacher sees them.
SIDES, TEACHER_SIDE = (96, 128), 160
# Smallest crop, and how far its colours move.
LEAST, COLOR = 0.2, 0.2
CHECKPOINT_SECONDS = 120
# Of the last layer's training, in which everything learns a little.
EPOCHS = 2
# Fire modules and largest file of each network; weights keep so many bits that rounding them is all.
DEPTHS = {"photo-s": 6, "photo-l": 8}
MOST = {"photo-s": 140_000, "photo-l": 400_000}


def config_of(depth: int) -> SqueezeNetConfig:
    """SqueezeNet v1.0 with so many Fire modules."""
    pools = tuple(place for place in (1, 4, 8) if place <= depth)
    config = network_config("squeezenet1_0", image_size=max(SIDES), depth=depth, pool_before=pools)
    assert isinstance(config, SqueezeNetConfig)
    return config


def stored(folders: list[Path], file: Path, side: int) -> NDArray[np.uint8]:
    """Every photo below the folders, uint8 [n, side, side, 3], memory-mapped; decoded once into `file`."""
    if not file.exists():
        paths = [each.path for folder in folders for each in list_pictures(folder).files]
        paths = [path for path in paths if not Path(path).name.startswith(LEFT_OUT)]
        images = np.lib.format.open_memmap(f"{file}.partial", "w+", np.uint8, (len(paths), side, side, 3))
        with progress_bar("decoding photos", len(paths)) as advance:
            for place, path in enumerate(paths):
                try:
                    images[place] = read_image(path, side, 3)
                except UnreadableImageError as error:
                    # A grey image among so many is no harm.
                    say(str(error))
                advance(1)
        images.flush()
        Path(f"{file}.partial").replace(file)
    found: NDArray[np.uint8] = np.load(file, mmap_mode="c")
    return found


def seen(network: SqueezeNet, images: Tensor, depths: Iterable[int]) -> list[Tensor]:
    """Mean and maximum of every feature map after so many Fire modules: [n, 2c] each."""
    found, depth = [], 0
    for module in network.features:
        images = module(images)
        depth += isinstance(module, Fire)
        if isinstance(module, Fire) and depth in depths:
            found.append(torch.cat([images.mean((2, 3)), images.amax((2, 3))], 1))
    return found


class Distillation(nn.Module):
    """A network whose features at each of DEPTHS are to be the teacher's before its last layer, all of about deviation 1."""

    @torch.no_grad()
    def __init__(self, teacher: SqueezeNet, example: Tensor) -> None:
        super().__init__()
        self.network, self._teacher = copy.deepcopy(teacher), [teacher]
        found = seen(teacher, example, DEPTHS.values())
        self.scales = [(each.mean(0), each.std(0) + 0.1 * each.std()) for each in found]
        self.project = nn.ModuleList(nn.Linear(each.shape[1], found[-1].shape[1]) for each in found[:-1])
        for project in self.project:
            # So that at first no gradient of theirs moves what the teacher knows.
            nn.init.zeros_(project.weight)

    @torch.no_grad()
    def answers(self, images: Tensor) -> Tensor:
        """The teacher's features."""
        return self._scaled(seen(self._teacher[0], images, DEPTHS.values()))[-1]

    def forward(self, images: Tensor, answers: Tensor) -> Tensor:
        """The loss."""
        *earlier, last = self._scaled(seen(self.network, images, DEPTHS.values()))
        own = [*(project(each) for project, each in zip(self.project, earlier, strict=True)), last]
        return torch.stack([F.smooth_l1_loss(each, answers) for each in own]).sum()

    def _scaled(self, found: list[Tensor]) -> list[Tensor]:
        return [(each - mean) / deviation for each, (mean, deviation) in zip(found, self.scales, strict=True)]


def distil(images: NDArray[np.uint8], model: Model, file: Path, crops: int) -> dict[str, float]:
    """Train a network on so many crops to see what a model sees, and keep its weights in `file`."""
    teacher = model.network.eval().to(memory_format=torch.channels_last)
    assert isinstance(teacher, SqueezeNet)
    pixels, normalize = torch.from_numpy(images), Normalization(model.config.mean, model.config.std)

    def batch(step: int, *sides: int) -> list[Tensor]:
        random = generator(0, step)
        chosen = torch.randint(0, len(pixels), (BATCH,), generator=random)
        mirrored = torch.rand(BATCH, generator=random) < 0.5
        drawn = Crops(0, LEAST, COLOR).drawn(BATCH, random)
        return [normalize(Crops(side, LEAST, COLOR)(pixels[chosen], drawn, mirrored)) for side in sides]

    torch.manual_seed(0)
    learning = Distillation(teacher, *batch(2**31, TEACHER_SIDE)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(learning.parameters(), RATE, weight_decay=0, fused=True)
    step, steps, spent, loss, saved = 0, -(-crops // BATCH), 0.0, 0.0, 0.0
    checkpoint = file.with_suffix(".pt")
    if checkpoint.exists():
        state = read_saved(checkpoint)
        learning.load_state_dict(state["learning"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent, loss = state["step"], state["spent"], state["loss"]
        saved = spent
    with progress_bar(file.stem, steps, done=step) as advance:
        while step < steps:
            begin, done = time.monotonic(), step / steps
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(done / WARM_UP, (1 - done) / (1 - WARM_UP)) + 1e-6
            larger, shown = batch(step, TEACHER_SIDE, SIDES[step % len(SIDES)])
            optimizer.zero_grad()
            value = learning(shown, learning.answers(larger))
            value.backward()
            optimizer.step()
            step, loss, spent = step + 1, 0.99 * loss + 0.01 * float(value.detach()), spent + time.monotonic() - begin
            advance(1, f"{file.stem}: loss {loss / (1 - 0.99**step):.4f}")
            if spent - saved > CHECKPOINT_SECONDS:
                state = {"learning": learning.state_dict(), "optimizer": optimizer.state_dict()}
                with atomic_io.replacing(checkpoint) as out:
                    torch.save({**state, "step": step, "spent": spent, "loss": loss}, out)
                saved = spent
    save_file({name: tensor.contiguous() for name, tensor in learning.network.state_dict().items()}, file)
    return {"crops": step * BATCH, "seconds": round(spent), "loss": round(loss / (1 - 0.99**step), 5)}


def finished(name: str, weights: Path, model: Model, classes: Path, out: Path) -> dict[str, float]:
    """The network as far as its depth: fit a last layer for the classes of a folder, and compress: OUT/NAME.sqz."""
    config, part = config_of(DEPTHS[name]), out / f"{name}.safetensors"
    # Its last layer, of random weights, is for 1,000 classes, so that training makes its own.
    state = config.build().state_dict()
    shared = {key: tensor for key, tensor in load_file(weights).items() if key in state and key.startswith("features.")}
    save_file({**state, **shared}, part)
    fields = config.model_dump(exclude={"name", "classes", "dropout", "batch_norm", "head_relu", "mean", "std"})
    run = sk.train(
        classes,
        network="squeezenet1_0",
        recipe="fine-tune",
        init_from=part,
        out=out / f"{name}-run",
        resume=True,
        mean=model.config.mean,
        std=model.config.std,
        head_relu=False,
        batch_norm=False,
        epochs=EPOCHS,
        **fields,
    )
    file = out / f"{name}.sqz"
    if not file.exists():
        sk.compress(run.folder, file, max_bytes=MOST[name], minutes=0)
    return {"bytes": file.stat().st_size, "accuracy": sk.evaluate(file, classes).accuracy}


def main() -> None:
    """Parse, make what is missing, print what was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT")
    parser.add_argument("--names", nargs="+", default=[*DEPTHS], choices=DEPTHS, metavar="NAME")
    parser.add_argument("--crops", type=int, default=1_000_000, metavar="N", help="that are seen (default 1,000,000)")
    parser.add_argument("--teacher", default=TEACHER, metavar="MODEL", help=f"a SqueezeNet v1.0 (default {TEACHER})")
    parser.add_argument("--classes", type=Path, metavar="FOLDER", help="one folder of photos for each class")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    images = stored(given.photos, given.out / "photos.npy", kept_side(TEACHER_SIDE))
    weights, teacher = given.out / "distilled.safetensors", load_model(given.teacher)
    if not weights.exists():
        print(json.dumps({"step": "distillation", **distil(images, teacher, weights, given.crops)}), flush=True)
    for name in given.names if given.classes else ():
        print(json.dumps({"network": name, **finished(name, weights, teacher, given.classes, given.out)}), flush=True)


if __name__ == "__main__":
    main()
