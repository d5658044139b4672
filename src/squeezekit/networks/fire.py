"""The Fire module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.acceleration.fused_ops import FusedBatchNorm, finished, finished_and_pooled
from squeezekit.acceleration.grouped_convolution import Depthwise
from squeezekit.networks.named_layers import NamedLayer, norm_or_none

Bypass = Literal["none", "identity", "convolution"]


class Fire(nn.Module):
    """Squeeze to few channels, then expand along two branches or three (Iandola et al., 2016, section 3.2).

    Shapes: [n, in_channels, h, w] -> [n, expand1x1 + expand3x3, h, w], with `depthwise` `squeeze` channels more.

    `depthwise`, 0 or odd, is the side of the filters of a third branch, one for each squeezed channel: a wide view for few
    weights. With `gated`, the squeeze layer makes twice its channels, and instead of ReLU one half is multiplied by the
    sigmoid of the other (Dauphin et al., 2017, arXiv 1612.08083). Neither is in the paper.

    `bypass` adds the module's input to its output, as it is (`identity`, needs equal channels) or through a
    1×1 convolution (section 6, figure 2). With `rectify=False` the last ReLU is left to what follows, which
    must then be a `RectifiedMaxPool`.
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
        rectify: bool = True,
        depthwise: int = 0,
        gated: bool = False,
    ) -> None:
        super().__init__()
        out_channels = expand1x1 + expand3x3 + (squeeze if depthwise else 0)
        if bypass == "identity" and in_channels != out_channels:
            raise ValueError(f"an identity bypass needs equal channels, not {in_channels} and {out_channels}")
        if bypass != "none" and not rectify:
            raise ValueError("a bypass adds to the rectified output: rectify cannot be off")
        bias = not batch_norm
        self.in_channels, self.out_channels, self.rectify, self.gated = in_channels, out_channels, rectify, gated
        narrow = 2 * squeeze if gated else squeeze
        self.squeeze = nn.Conv2d(in_channels, narrow, 1, bias=bias)
        self.squeeze_norm = FusedBatchNorm(narrow) if batch_norm else nn.Identity()
        self.expand1x1 = nn.Conv2d(squeeze, expand1x1, 1, bias=bias)
        self.expand3x3 = nn.Conv2d(squeeze, expand3x3, 3, padding=1, bias=bias)
        self.expand_depthwise = Depthwise(squeeze, depthwise, bias=bias) if depthwise else None
        self.expand_norm = FusedBatchNorm(out_channels) if batch_norm else nn.Identity()
        self.bypass = _bypass(bypass, in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x: Tensor, pooled_by: int | None = None) -> Tensor:
        """`pooled_by` is the side of the windows of the `RectifiedMaxPool` that follows, to have it computed here as well."""
        squeezed = finished([self.squeeze(x)], self.squeeze_norm, rectify=not self.gated)
        if self.gated:
            squeezed = F.glu(squeezed, 1)
        branches = [expand(squeezed) for expand in self.expands().values()]
        if pooled_by:
            return finished_and_pooled(branches, self.expand_norm, pooled_by)
        beside = None if self.bypass is None else self.bypass(x)
        return finished(branches, self.expand_norm, rectify=self.rectify, bypass=beside)

    def expands(self) -> dict[str, nn.Conv2d]:
        """The branches of the expand layer by name, in the order of their channels."""
        branches = {"expand1x1": self.expand1x1, "expand3x3": self.expand3x3}
        return branches if self.expand_depthwise is None else {**branches, "expand_depthwise": self.expand_depthwise}

    def places(self, name: str) -> Iterator[NamedLayer]:
        """Its convolutions, for a network that calls it `name`."""
        yield NamedLayer(f"{name}.squeeze", self.squeeze, norm_or_none(self.squeeze_norm))
        norm, first = norm_or_none(self.expand_norm), 0
        for kind, branch in self.expands().items():
            yield NamedLayer(f"{name}.{kind}", branch, norm, slice(first, first + branch.out_channels))
            first += branch.out_channels
        if isinstance(self.bypass, nn.Conv2d):
            yield NamedLayer(f"{name}.bypass", self.bypass)
        elif isinstance(self.bypass, nn.Sequential):
            convolution, beside = self.bypass
            assert isinstance(convolution, nn.Conv2d)
            yield NamedLayer(f"{name}.bypass", convolution, norm_or_none(beside))


def _bypass(kind: Bypass, in_channels: int, out_channels: int, *, batch_norm: bool) -> nn.Module | None:
    if kind == "none":
        return None
    if kind == "identity":
        return nn.Identity()
    convolution = nn.Conv2d(in_channels, out_channels, 1, bias=not batch_norm)
    return nn.Sequential(convolution, FusedBatchNorm(out_channels)) if batch_norm else convolution
