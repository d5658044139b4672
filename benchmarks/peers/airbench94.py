"""airbench94 with Muon (Jordan, 2024, arXiv 2404.00498, with the settings that he has published since): the peer to outrun.

    python benchmarks/peers/airbench94.py IMAGES [--epochs 8] [--seed 0] [--device cpu|cuda] [--precision fp32|bf16] [--compiled]
        [--validation-share 0] [--limit N] [--curve] [--untested]

A convolutional network of 1.97 M parameters and 118 M multiply-adds that gains 94 % on CIFAR-10 in eight epochs. IMAGES holds
train/<class>/… and test/<class>/…, 32 × 32 in colour. All training images are trained on, and the test images measured once at
the end; with --validation-share some of them validate in the place of the test images. --curve measures after each epoch as
well, off the clock. Prints one JSON line an epoch, the last with the final accuracy: `plain` without test-time augmentation,
`augmented` with it, `official` both for the files called official-…, if there are any.
Needs torch, numpy and Pillow, and nothing of squeezekit.
"""

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

BATCH = 2000
SMOOTHING = 0.2
WIDTHS = (64, 256, 256)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# Of Muon, which moves the 3×3 filters.
MUON_RATE, MUON_MOMENTUM, NEWTON_SCHULZ_STEPS = 0.24, 0.6, 3
# Of SGD, which moves the rest.
BIAS_RATE, HEAD_RATE, SGD_MOMENTUM, DECAY = 0.053, 0.67, 0.85, 2e-6 * BATCH
WHITENING_EPOCHS, WHITENED_IMAGES, WHITENING_EPS = 3, 5000, 5e-4


def read(folder):
    """uint8 [n, 3, 32, 32], labels [n] and whether each file is an official test image [n]."""
    pixels, labels, official = [], [], []
    for label, place in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for file in sorted(place.iterdir()):
            pixels.append(np.asarray(Image.open(file).convert("RGB")))
            labels.append(label)
            official.append(file.name.startswith("official"))
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels), torch.tensor(official)


def normalized(pixels):
    mean, std = (torch.tensor(numbers, device=pixels.device).view(1, 3, 1, 1) for numbers in (MEAN, STD))
    return ((pixels.float() / 255 - mean) / std).to(memory_format=torch.channels_last)


class Block(nn.Module):
    """Two 3×3 convolutions with a max-pooling between them."""

    def __init__(self, before, width):
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, eps=1e-12, momentum=0.4) for _ in range(2))
        for norm in self.norms:
            norm.weight.requires_grad = False
        for convolution in (self.first, self.second):
            # The first filters hand their channels on as they are, the others start as usual.
            nn.init.dirac_(convolution.weight.data[: convolution.in_channels])

    def forward(self, x):
        x = F.gelu(self.norms[0](F.max_pool2d(self.first(x), 2)))
        return F.gelu(self.norms[1](self.second(x)))


class Network(nn.Module):
    """Whitening of 2×2 patches, three blocks, max-pooling, linear layer: [n, 3, 32, 32] -> logits [n, 10]."""

    def __init__(self, images):
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        self.whitening.weight.requires_grad = False
        self.whitening.weight.data[:] = whitening_filters(images)
        self.whitening.bias.data.zero_()
        self.blocks = nn.Sequential(*(Block(before, width) for before, width in pairwise((24, *WIDTHS))))
        self.head = nn.Linear(WIDTHS[-1], 10, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x):
        x = self.blocks(F.gelu(self.whitening(x)))
        return self.head(F.max_pool2d(x, 3).flatten(1)) / WIDTHS[-1]


def whitening_filters(images):
    """Filters [24, 3, 2, 2] that give patches the covariance 1, with both signs (section 3.2)."""
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + WHITENING_EPS).sqrt()).T.flip(0).reshape(12, 3, 2, 2).float()
    return torch.cat([filters, -filters])


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; each filter bank is brought to norm √filters before."""

    def __init__(self, filters):
        super().__init__(filters, {"lr": MUON_RATE})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weights in group["params"]:
                gradient = weights.grad
                momentum = self.state[weights].setdefault("momentum", torch.zeros_like(gradient))
                momentum.mul_(MUON_MOMENTUM).add_(gradient)
                update = gradient.add(momentum, alpha=MUON_MOMENTUM)
                weights.mul_(len(weights) ** 0.5 / weights.norm())
                weights.sub_(orthogonal(update.flatten(1)).view_as(weights), alpha=group["lr"])


def orthogonal(matrix):
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


def augmented(images, epoch, mirrored_first):
    """Shifts by up to two pixels, edges reflected; every image is mirrored in every other epoch (section 3.6)."""
    count, _, side, _ = images.shape
    padded = F.pad(images, (2,) * 4, "reflect")
    rows, columns = (torch.randint(5, (count, 1), device=images.device) + torch.arange(side, device=images.device) for _ in "hw")
    mirrored = mirrored_first ^ (epoch % 2 == 1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    number = torch.arange(count, device=images.device)[:, None, None]
    found = padded.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)


@torch.inference_mode()
def answers(network, images, autocast):
    """Logits [n, 10] without test-time augmentation, and with it: mirror images, and two shifts by a pixel, half weighted."""
    network.eval()
    plain, views = [], []
    for batch in images.split(BATCH):
        padded = F.pad(batch, (1,) * 4, "reflect")
        with autocast:
            one, *shifted = (
                [network(view).float(), network(view.flip(3)).float()]
                for view in (batch, padded[:, :, :32, :32], padded[:, :, 2:, 2:])
            )
        plain.append(one[0])
        views.append(sum(one) / 4 + sum(map(sum, shifted)) / 8)
    return torch.cat(plain), torch.cat(views)


def train(network, images, labels, arguments, autocast, report):
    """Train, calling `report(epoch, seconds, images)` after each epoch; its own time is not on the clock."""
    filters = [p for p in network.blocks.parameters() if p.ndim == 4]
    biases = [norm.bias for block in network.blocks for norm in block.norms]
    groups = [([network.whitening.bias], BIAS_RATE), (biases, BIAS_RATE), ([network.head.weight], HEAD_RATE)]
    sgd = torch.optim.SGD(
        [{"params": params, "lr": rate, "weight_decay": DECAY / rate} for params, rate in groups],
        momentum=SGD_MOMENTUM,
        nesterov=True,
        fused=True,
    )
    muon = Muon(filters)
    highest = [(group, group["lr"]) for optimizer in (sgd, muon) for group in optimizer.param_groups]
    # Few images, as when only speed is measured, are at least two batches.
    batch = min(BATCH, len(images) // 2)
    steps = len(images) // batch
    computed = torch.compile(network, mode="max-autotune") if arguments.compiled else network
    mirrored_first = torch.rand(len(images), device=images.device) < 0.5
    seconds = 0.0
    for epoch in range(arguments.epochs):
        begin = now(images)
        network.train()
        seen = augmented(images, epoch, mirrored_first)
        for step, chosen in enumerate(torch.randperm(len(images), device=images.device).split(batch)[:steps]):
            done = (epoch * steps + step) / steps
            for group, rate in highest:
                length = WHITENING_EPOCHS if group is sgd.param_groups[0] else arguments.epochs
                group["lr"] = rate * max(1 - done / length, 0)
            network.whitening.bias.requires_grad_(done < WHITENING_EPOCHS)
            with autocast:
                logits = computed(seen[chosen].contiguous(memory_format=torch.channels_last))
            F.cross_entropy(logits.float(), labels[chosen], label_smoothing=SMOOTHING, reduction="sum").backward()
            muon.step()
            sgd.step()
            network.zero_grad(set_to_none=True)
        seconds += now(images) - begin
        report(epoch + 1, seconds, (epoch + 1) * steps * batch)


def now(tensor):
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def main(arguments):
    torch.manual_seed(arguments.seed)
    pixels, labels, _ = read(arguments.images / "train")
    if arguments.validation_share:
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
        held = order[: round(arguments.validation_share * len(order))]
        kept = order[len(held) :]
        measured, answers_right, official = pixels[held], labels[held], torch.zeros(len(held), dtype=torch.bool)
        pixels, labels = pixels[kept], labels[kept]
    else:
        measured, answers_right, official = read(arguments.images / "test")
    if arguments.limit:
        chosen = torch.randperm(len(pixels))[: arguments.limit]
        pixels, labels = pixels[chosen], labels[chosen]
    images, measured = (normalized(part.to(arguments.device)) for part in (pixels, measured))
    labels, answers_right, official = (part.to(arguments.device) for part in (labels, answers_right, official))
    network = Network(images[:WHITENED_IMAGES].cpu()).to(arguments.device).to(memory_format=torch.channels_last)
    autocast = torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.precision == "bf16")

    def report(epoch, seconds, seen):
        row = {
            "epoch": epoch,
            "seconds": round(seconds, 2),
            "images_per_s": round(seen / seconds, 1),
        }
        if not arguments.untested and (arguments.curve or epoch == arguments.epochs):
            for name, logits in zip(("plain", "augmented"), answers(network, measured, autocast), strict=True):
                right = logits.argmax(1) == answers_right
                row[name] = round(right.float().mean().item(), 5)
                if official.any():
                    row.setdefault("official", []).append(round(right[official].float().mean().item(), 5))
        print(json.dumps({"seed": arguments.seed, **row}), flush=True)

    train(network, images, labels, arguments, autocast, report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--compiled", action="store_true", help="by torch.compile")
    parser.add_argument("--validation-share", type=float, default=0)
    parser.add_argument("--limit", type=int, help="train on so many images")
    parser.add_argument("--curve", action="store_true", help="measure after each epoch")
    parser.add_argument("--untested", action="store_true", help="measure nothing but speed")
    main(parser.parse_args())
