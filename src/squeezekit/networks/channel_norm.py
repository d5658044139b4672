"""Layer normalization over the channels of each pixel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Each pixel's channels less their mean and over their deviation, computed in float32 also beside bf16.

    Ba et al., 2016, arXiv 1607.06450, of one pixel: [n, c, h, w] -> [n, c, h, w].
    """

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1).to(self.weight.dtype)
        normal = F.layer_norm(pixels, self.normalized_shape, self.weight, self.bias, self.eps)
        return normal.permute(0, 3, 1, 2).to(x.dtype)
