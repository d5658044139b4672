"""The networks for photos: narrower and earlier pooled forms of ImageNet's SqueezeNet v1.0 that learn to see what it sees.

    python scripts/photo_models.py PHOTOS [PHOTOS …] --out OUT [--names photo-s …] [--crops N] [--classes FOLDER]

PHOTOS are folders of photos; no labels are used. What is done is not done again, and what was stopped goes on with the same
command.

1. Weights: the channels of SqueezeNet v1.0 that matter most; a stem of 3×3 filters is its 7×7 one, shrunk.
2. Distillation: the network sees crops of photos, and what comes out before the last layer, mean and maximum of every feature
   map, is to be the teacher's for the same crop (Romero et al., 2014, arXiv 1412.6550; at the end alone).
3. A last layer for the classes of FOLDER, and compression: OUT/NAME.sqz.

Prints one JSON line for each network and step.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
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
BATCH, RATE, WARM_UP = 64, 5e-4, 0.1
# So much smaller are the images at first, which is faster, until that share of the steps.
SMALL, SMALL_UNTIL = 0.6, 0.7
# Smallest crop, and how far its colours move.
LEAST, COLOR = 0.2, 0.2
CHECKPOINT_SECONDS = 120
# Of the last layer's training, in which everything learns a little.
EPOCHS = 3
# Largest files.
MOST = {"photo-s": 60_000, "photo-m": 150_000, "photo-l": 400_000}


@dataclass(frozen=True)
class Shape:
    """A network: side of its images, output channels of its first Fire modules, filters of its stem."""

    image_size: int
    width: int
    stem: int

    def config(self) -> SqueezeNetConfig:
        """SqueezeNet v1.0's modules with v1.1's early pooling."""
        config = network_config(
            "squeezenet1_0",
            image_size=self.image_size,
            base_e=self.width,
            incr_e=self.width,
            stem_width=self.stem,
            stem_kernel=3,
            pool_before=(1, 3, 5),
        )
        assert isinstance(config, SqueezeNetConfig)
        return config


SHAPES = {"photo-s": Shape(96, 80, 64), "photo-m": Shape(128, 104, 64), "photo-l": Shape(160, 128, 96)}


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


def started(config: SqueezeNetConfig, teacher: SqueezeNet) -> SqueezeNet:
    """A network of that shape with the teacher's weights: of every layer those channels that the next one listens to most."""
    network = config.build()
    own, others = ([m for m in each.features if not isinstance(m, nn.ReLU | nn.MaxPool2d)] for each in (network, teacher))
    kept = torch.arange(config.channels)
    for place, (mine, theirs) in enumerate(zip(own, others, strict=True)):
        following = others[place + 1] if place + 1 < len(others) else None
        kept = _filled(mine, theirs, kept, None if following is None else following.squeeze.weight)
    return network


@torch.no_grad()
def _filled(mine: nn.Module, theirs: nn.Module, inputs: Tensor, following: Tensor | None) -> Tensor:
    """Give a layer the teacher's weights for the teacher's channels `inputs`; returns which of its outputs were kept."""
    if isinstance(mine, nn.Conv2d) and isinstance(theirs, nn.Conv2d):
        outputs = _most(_strength(theirs.weight) * _heard(following, 0, theirs.out_channels), mine.out_channels)
        weight = theirs.weight[outputs][:, inputs]
        side, before = mine.kernel_size[0], theirs.kernel_size[0]
        if side != before:
            # A smaller filter of the same sum.
            weight = F.interpolate(weight, (side, side), mode="bilinear", antialias=True) * (before / side) ** 2
        _set(mine, weight, theirs.bias, outputs)
        return outputs
    assert isinstance(mine, Fire) and isinstance(theirs, Fire)
    expands = [(mine.expand1x1, theirs.expand1x1), (mine.expand3x3, theirs.expand3x3)]
    heard = sum(each.weight.square().sum((0, 2, 3)) for _, each in expands).sqrt()
    squeezed = _most(_strength(theirs.squeeze.weight[:, inputs]) * heard, mine.squeeze.out_channels)
    _set(mine.squeeze, theirs.squeeze.weight[squeezed][:, inputs], theirs.squeeze.bias, squeezed)
    kept, first = [], 0
    for one, other in expands:
        strength = _strength(other.weight[:, squeezed]) * _heard(following, first, other.out_channels)
        outputs = _most(strength, one.out_channels)
        _set(one, other.weight[outputs][:, squeezed], other.bias, outputs)
        kept.append(outputs + first)
        first += other.out_channels
    return torch.cat(kept)


def _set(layer: nn.Conv2d, weight: Tensor, bias: Tensor | None, outputs: Tensor) -> None:
    assert layer.bias is not None and bias is not None
    layer.weight.copy_(weight)
    layer.bias.copy_(bias[outputs])


def _strength(weight: Tensor) -> Tensor:
    return weight.square().sum((1, 2, 3)).sqrt()


def _heard(following: Tensor | None, first: int, count: int) -> Tensor:
    """How strongly the next layer weighs each of `count` channels from `first` on."""
    if following is None:
        return torch.ones(count)
    return following.square().sum((0, 2, 3)).sqrt()[first : first + count]


def _most(strength: Tensor, count: int) -> Tensor:
    return strength.topk(count).indices.sort().values


def seen(network: SqueezeNet, images: Tensor) -> Tensor:
    """Mean and maximum of every feature map before the last layer: [n, 2c]."""
    maps = network.features(images)
    return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)


class Distillation(nn.Module):
    """A network whose features, put through a linear layer of their own, are to be the teacher's, each of deviation 1."""

    def __init__(self, network: SqueezeNet, teacher: SqueezeNet, example: Tensor) -> None:
        super().__init__()
        self.network = network
        self._teacher = [teacher]
        answers = self.answers(example, scaled=False)
        self.mean, self.deviation = answers.mean(0), answers.std(0) + 0.1 * answers.std()
        channels = seen(network, example[:2]).shape[1]
        self.project = nn.Identity() if channels == answers.shape[1] else nn.Linear(channels, answers.shape[1])

    @torch.no_grad()
    def answers(self, images: Tensor, *, scaled: bool = True) -> Tensor:
        """The teacher's features."""
        found = seen(self._teacher[0], images)
        return (found - self.mean) / self.deviation if scaled else found

    def forward(self, images: Tensor, answers: Tensor) -> Tensor:
        """The loss."""
        own = self.project(seen(self.network, images))
        if isinstance(self.project, nn.Identity):
            own = (own - self.mean) / self.deviation
        return F.smooth_l1_loss(own, answers)


def distil(shape: Shape, images: NDArray[np.uint8], model: Model, file: Path, crops: int) -> dict[str, float]:
    """Train a network of that shape on so many crops to see what a model sees, and keep its weights in `file`."""
    config = shape.config().model_copy(update={"mean": model.config.mean, "std": model.config.std})
    teacher = model.network.eval().to(memory_format=torch.channels_last)
    assert isinstance(teacher, SqueezeNet)
    pixels, normalize = torch.from_numpy(images), Normalization(config.mean, config.std)

    def batch(step: int, side: int, count: int = BATCH) -> Tensor:
        view = Crops(side, LEAST, COLOR)
        random = generator(0, step)
        chosen = torch.randint(0, len(pixels), (count,), generator=random)
        mirrored = torch.rand(count, generator=random) < 0.5
        return normalize(view(pixels[chosen], view.drawn(count, random), mirrored))

    torch.manual_seed(0)
    example = batch(2**31, shape.image_size, 4 * BATCH)
    learning = Distillation(started(config, teacher), teacher, example).to(memory_format=torch.channels_last)
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
            shown = batch(step, shape.image_size if done >= SMALL_UNTIL else round(SMALL * shape.image_size))
            optimizer.zero_grad()
            value = learning(shown, learning.answers(shown))
            value.backward()
            optimizer.step()
            step, loss, spent = step + 1, 0.99 * loss + 0.01 * float(value.detach()), spent + time.monotonic() - begin
            advance(1, f"{file.stem}: loss {loss / (1 - 0.99**step):.4f}")
            if spent - saved > CHECKPOINT_SECONDS:
                state = {"learning": learning.state_dict(), "optimizer": optimizer.state_dict()}
                with atomic_io.replacing(checkpoint) as out:
                    torch.save({**state, "step": step, "spent": spent, "loss": loss}, out)
                saved = spent
    tensors = {name: tensor.contiguous() for name, tensor in learning.network.state_dict().items()}
    save_file(tensors, file, {"squeezekit": config.model_dump_json()})
    return {"crops": step * BATCH, "seconds": round(spent), "loss": round(loss / (1 - 0.99**step), 5)}


def finished(name: str, shape: Shape, weights: Path, classes: Path, out: Path) -> dict[str, float]:
    """Fit a last layer for the classes of a folder, and compress: OUT/NAME.sqz."""
    fields = shape.config().model_dump(exclude={"name", "classes", "dropout", "batch_norm", "head_relu", "mean", "std"})
    given = network_as_kept(weights)
    run = sk.train(
        classes,
        network="squeezenet1_0",
        recipe="fine-tune",
        init_from=weights,
        out=out / f"{name}-run",
        resume=True,
        mean=given["mean"],
        std=given["std"],
        head_relu=False,
        batch_norm=False,
        epochs=EPOCHS,
        **fields,
    )
    file = out / f"{name}.sqz"
    if not file.exists():
        sk.compress(run.folder, file, max_bytes=MOST[name])
    accuracy = sk.evaluate(file).accuracy
    return {"bytes": file.stat().st_size, "accuracy": accuracy}


def network_as_kept(weights: Path) -> dict[str, list[float]]:
    """The configuration beside the weights in a file of `distil`."""
    with safe_open(weights, "pt") as file:
        found: dict[str, list[float]] = json.loads(file.metadata()["squeezekit"])
    return found


def main() -> None:
    """Parse, make what is missing, print what was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", metavar="PHOTOS", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT")
    parser.add_argument("--names", nargs="+", default=[*SHAPES], choices=SHAPES, metavar="NAME")
    parser.add_argument("--crops", type=int, default=1_000_000, metavar="N", help="seen by each network (default 1,000,000)")
    parser.add_argument("--teacher", default=TEACHER, metavar="MODEL", help=f"a SqueezeNet v1.0 (default {TEACHER})")
    parser.add_argument("--classes", type=Path, metavar="FOLDER", help="one folder of photos for each class")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    side = kept_side(max(shape.image_size for shape in SHAPES.values()))
    images = stored(given.photos, given.out / "photos.npy", side)
    for name in given.names:
        weights = given.out / f"{name}.safetensors"
        if not weights.exists():
            facts = distil(SHAPES[name], images, load_model(given.teacher), weights, given.crops)
            print(json.dumps({"network": name, **facts}), flush=True)
        if given.classes:
            facts = finished(name, SHAPES[name], weights, given.classes, given.out)
            print(json.dumps({"network": name, **facts}), flush=True)


if __name__ == "__main__":
    main()
