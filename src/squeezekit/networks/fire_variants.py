"""Fire modules that no pretrained network uses, but that files of 0.1 may hold."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.networks.fire import Bypass, Fire, bypass_of, norm_or_identity


class FireVariant(Fire):
    """A Fire module with a third branch of depthwise filters, with a gate in the place of the squeeze layer's ReLU, or with both.

    Shapes: [n, in_channels, h, w] -> [n, expand1x1 + expand3x3 (+ squeeze, with `depthwise`), h, w].

    `depthwise`, 0 or odd, is the side of the third branch's filters, one for each squeezed channel. With `gated`, the squeeze
    layer makes twice its channels, and one half is multiplied by the sigmoid of the other (Dauphin et al., 2017, arXiv
    1612.08083). Neither is in the SqueezeNet paper. Raises ValueError for an even side.
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
        depthwise: int = 0,
        gated: bool = False,
    ) -> None:
        # Not that of Fire: layers draw their first weights in the order in which they are made.
        nn.Module.__init__(self)
        if depthwise and depthwise % 2 == 0:
            raise ValueError(f"depthwise filters have an odd side, not {depthwise}")
        bias, narrow = not batch_norm, 2 * squeeze if gated else squeeze
        self.gated = gated
        self.in_channels, self.out_channels = in_channels, expand1x1 + expand3x3 + (squeeze if depthwise else 0)
        self.squeeze = nn.Conv2d(in_channels, narrow, 1, bias=bias)
        self.squeeze_norm = norm_or_identity(narrow, batch_norm)
        self.expand1x1 = nn.Conv2d(squeeze, expand1x1, 1, bias=bias)
        self.expand3x3 = nn.Conv2d(squeeze, expand3x3, 3, padding=1, bias=bias)
        self.expand_depthwise = (
            nn.Conv2d(squeeze, squeeze, depthwise, padding=depthwise // 2, groups=squeeze, bias=bias) if depthwise else None
        )
        self.expand_norm = norm_or_identity(self.out_channels, batch_norm)
        self.bypass = bypass_of(bypass, in_channels, self.out_channels, batch_norm=batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze_norm(self.squeeze(x))
        squeezed = F.glu(squeezed, 1) if self.gated else F.relu(squeezed, inplace=True)
        branches = [expand(squeezed) for expand in self.expands().values()]
        out = F.relu(self.expand_norm(torch.cat(branches, 1)), inplace=True)
        return out if self.bypass is None else out + self.bypass(x)

    def expands(self) -> dict[str, nn.Conv2d]:
        """See `Fire`."""
        branches = super().expands()
        return branches if self.expand_depthwise is None else {**branches, "expand_depthwise": self.expand_depthwise}
