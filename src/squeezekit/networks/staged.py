"""Networks of stages: blocks of one kind, every stage wider than the one before, most of them on smaller feature maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig, Share, Work
from squeezekit.networks.dropout import Dropout

Width = Annotated[int, Field(ge=1, le=4096)]
# Side of the patches that a whitening layer sees, and what is added to their variances.
PATCH, WHITENING_EPS = 2, 5e-4


class StagedConfig(NetworkConfig):
    """Every number that a network of stages is built from."""

    block: Literal["plain", "fire", "inverted"] = Field("inverted", description="kind of all blocks")
    widths: tuple[Width, ...] = Field((16, 32, 64), min_length=1, max_length=8, description="channels of each stage")
    depths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field((2, 2, 2), description="blocks of each stage")
    halved: tuple[bool, ...] = Field((False, True, True), description="whether the first block of each stage halves both sides")
    ratio: float = Field(3.0, gt=0, le=16, description="channels inside a block ÷ its outputs: below 1 squeezed, above expanded")
    pooled: bool = Field(True, description="halve by max-pooling behind a plain or fire block's filters; off: by their stride")
    kernel: Literal[3, 5, 7] = Field(3, description="side of the filters that see more than a pixel")
    stem: Literal["learned", "whitened"] = Field(
        "learned", description="first layer: 3×3 filters that learn, or 2×2 ones that whiten the images' patches and stay"
    )
    stem_width: Width = Field(16, description="filters of a learned first layer")
    last: Literal["mean", "max"] = Field("mean", description="what remains of each of the last feature maps")
    dropout: Share = Field(0.0, description="dropout before the last layer")
    batch_norm: bool = Field(True, description="batch normalization after every convolution but a whitening one")

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if not len(self.widths) == len(self.depths) == len(self.halved):
            raise ValueError("widths, depths and halved must each have one value a stage")
        if self.image_size >> sum(self.halved) < 2:
            raise ValueError(f"image_size {self.image_size} is too small to be halved {sum(self.halved)} times")
        return self

    @property
    def first_channels(self) -> int:
        """Channels after the first layer: a whitening one has every direction of a patch with both signs."""
        return 2 * self.channels * PATCH**2 if self.stem == "whitened" else self.stem_width

    def shapes(self) -> Iterator[tuple[int, int, int, bool]]:
        """Channels before, inside and after each block, and whether it halves both sides."""
        before = self.first_channels
        for width, depth, halved in zip(self.widths, self.depths, self.halved, strict=True):
            for number in range(depth):
                yield before, max(round(width * self.ratio), 1), width, halved and number == 0
                before = width

    def work(self) -> Work:
        """At most what the network takes, as if every convolution saw the larger side of its block."""
        side, taps = self.image_size, self.kernel**2
        first = self.first_channels * self.channels * 9
        parameters, macs, values = first, first * side**2, [(self.channels + self.first_channels) * side**2]
        for before, inside, after, halved in self.shapes():
            weights = {
                "plain": taps * before * after,
                "fire": inside * (before + taps * after),
                "inverted": inside * (before + taps + after),
            }[self.block]
            parameters, macs = parameters + weights, macs + weights * side**2
            values.append((before + 2 * inside + after) * side**2)
            side = -(-side // 2) if halved else side
        last = self.widths[-1] * self.classes
        return Work(parameters + last, max(values), macs + last)

    def build(self) -> Staged:
        """The untrained network; its weights are drawn from torch's global generator."""
        return Staged(self)


class Staged(nn.Module):
    """First layer, blocks, mean or maximum, linear layer: float [n, channels, h, w], normalized -> logits [n, classes].

    With a whitened first layer, `whiten` must see images before training.
    """

    def __init__(self, config: StagedConfig) -> None:
        super().__init__()
        self.config = config
        whitened, norm = config.stem == "whitened", config.batch_norm and config.stem == "learned"
        kernel, padding = (PATCH, 0) if whitened else (3, 1)
        self.stem = nn.Conv2d(config.channels, config.first_channels, kernel, padding=padding, bias=not norm)
        self.norm = nn.BatchNorm2d(config.first_channels) if norm else nn.Identity()
        self.stem.weight.requires_grad_(not whitened)
        kinds = {"plain": Plain, "fire": SqueezeExpand, "inverted": Inverted}
        self.blocks = nn.Sequential(*(kinds[config.block](config, *shape) for shape in config.shapes()))
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(config.widths[-1], config.classes)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.norm(self.stem(x)), inplace=True))
        x = x.amax((2, 3)) if self.config.last == "max" else x.mean((2, 3))
        logits: Tensor = self.classifier(self.dropout(x))
        return logits

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Let the first layer give patches of such images [n, channels, h, w] a covariance of 1 (Jordan, 2024, section 3.2)."""
        if self.config.stem == "whitened":
            filters = whitening_filters(images, PATCH)
            self.stem.weight.copy_(torch.cat([filters, -filters]))


class Plain(nn.Module):
    """A convolution, halved or not by max-pooling: [n, before, h, w] -> [n, after, h', w'].

    Pooling comes before normalization, which then has a quarter to do; without a scale that learns, their order does not matter.
    """

    def __init__(self, config: StagedConfig, before: int, inside: int, after: int, halved: bool) -> None:
        super().__init__()
        self.convolution, self.pool, self.norm = _pooled_convolution(config, before, after, halved)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        x = x if self.pool is None else self.pool(x)
        return F.relu(self.norm(x), inplace=True)


class SqueezeExpand(nn.Module):
    """A Fire module of 3×3 filters alone, its input added where shapes allow: [n, before, h, w] -> [n, after, h', w']."""

    def __init__(self, config: StagedConfig, before: int, inside: int, after: int, halved: bool) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, inside, 1, bias=not config.batch_norm)
        self.squeeze_norm = nn.BatchNorm2d(inside) if config.batch_norm else nn.Identity()
        self.expand, self.pool, self.expand_norm = _pooled_convolution(config, inside, after, halved)
        self.residual = before == after and not halved

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.squeeze_norm(self.squeeze(x)), inplace=True)
        out = self.expand(squeezed)
        out = out if self.pool is None else self.pool(out)
        out = F.relu(self.expand_norm(out), inplace=True)
        return out + x if self.residual else out


class Inverted(nn.Module):
    """Expand 1×1, depthwise, project 1×1 without ReLU (Sandler et al., 2018, arXiv 1801.04381, section 3.3), input added.

    Shapes: [n, before, h, w] -> [n, after, h', w'].
    """

    def __init__(self, config: StagedConfig, before: int, inside: int, after: int, halved: bool) -> None:
        super().__init__()
        norm, kernel = config.batch_norm, config.kernel
        self.expand = nn.Conv2d(before, inside, 1, bias=not norm)
        self.depthwise = nn.Conv2d(inside, inside, kernel, 1 + halved, kernel // 2, groups=inside, bias=not norm)
        self.project = nn.Conv2d(inside, after, 1, bias=not norm)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if norm else nn.Identity() for width in (inside, inside, after))
        self.residual = before == after and not halved

    def forward(self, x: Tensor) -> Tensor:
        expanded = F.relu(self.norms[0](self.expand(x)), inplace=True)
        out: Tensor = self.norms[2](self.project(F.relu(self.norms[1](self.depthwise(expanded)), inplace=True)))
        return out + x if self.residual else out


def _pooled_convolution(
    config: StagedConfig, before: int, after: int, halved: bool
) -> tuple[nn.Conv2d, nn.MaxPool2d | None, nn.Module]:
    stride = 2 if halved and not config.pooled else 1
    convolution = nn.Conv2d(before, after, config.kernel, stride, config.kernel // 2, bias=not config.batch_norm)
    pool = nn.MaxPool2d(3, 2, ceil_mode=True) if halved and config.pooled else None
    if not config.batch_norm:
        return convolution, pool, nn.Identity()
    norm = nn.BatchNorm2d(after)
    norm.weight.requires_grad_(False)
    return convolution, pool, norm


def whitening_filters(images: Tensor, side: int) -> Tensor:
    """Filters [c·side², c, side, side] that give patches of images [n, c, h, w] a covariance of 1, the largest variance first."""
    channels = images.shape[1]
    patches = images.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * side**2).double()
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    scaled = directions / (variances + WHITENING_EPS).sqrt()
    filters: Tensor = scaled.T.flip(0).reshape(-1, channels, side, side).to(images.dtype)
    return filters


def _initialize(network: Staged) -> None:
    """He-normal filters; those of plain and fire blocks hand their first channels on as they are (Jordan, 2024, section 3.3).

    What other channels such a block has start weaker than these, as torch's convolutions do.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if network.config.block == "inverted" or module is network.stem:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            nn.init.dirac_(module.weight.data[: module.in_channels])
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    nn.init.normal_(network.classifier.weight, std=0.01)
    nn.init.zeros_(network.classifier.bias)
