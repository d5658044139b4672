"""The Fire module."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Bypass = Literal["none", "identity", "convolution"]


class Fire(nn.Module):
    """Squeeze to few channels, then expand along two branches (Iandola et al., 2016, arXiv 1602.07360, section 3.2).

    Shapes: [n, in_channels, h, w] -> [n, expand1x1 + expand3x3, h, w].

    `bypass` adds the module's input to its output, as it is (`identity`, needs equal channels) or through a 1×1 convolution
    (section 6, figure 2). Raises ValueError where an identity bypass finds other channels.
    """

    def __init__(
        self,
        in_channels: int,
        squeeze: int,
        expand1x1: int,
        expand3x3: int,
        *,
        batch_norm: bool = False,
        bypass: Bypass = "none",
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, expand1x1 + expand3x3
        bias = not batch_norm
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1, bias=bias)
        self.squeeze_norm = norm_or_identity(squeeze, batch_norm)
        self.expand1x1 = nn.Conv2d(squeeze, expand1x1, 1, bias=bias)
        self.expand3x3 = nn.Conv2d(squeeze, expand3x3, 3, padding=1, bias=bias)
        self.expand_norm = norm_or_identity(self.out_channels, batch_norm)
        self.bypass = bypass_of(bypass, in_channels, self.out_channels, batch_norm=batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.squeeze_norm(self.squeeze(x)), inplace=True)
        branches = [expand(squeezed) for expand in self.expands()]
        out = F.relu(self.expand_norm(torch.cat(branches, 1)), inplace=True)
        return out if self.bypass is None else out + self.bypass(x)

    def expands(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """The branches of the expand layer, in the order of their channels."""
        return self.expand1x1, self.expand3x3


def norm_or_identity(channels: int, batch_norm: bool) -> nn.Module:
    """Batch normalization of so many channels, or nothing in its place."""
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


def bypass_of(kind: Bypass, in_channels: int, out_channels: int, *, batch_norm: bool) -> nn.Module | None:
    """What the input of a Fire module passes through before it is added to the output; None for no bypass."""
    if kind == "none":
        return None
    if kind == "identity":
        if in_channels != out_channels:
            raise ValueError(f"an identity bypass needs equal channels, not {in_channels} and {out_channels}")
        return nn.Identity()
    convolution = nn.Conv2d(in_channels, out_channels, 1, bias=not batch_norm)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels)) if batch_norm else convolution
