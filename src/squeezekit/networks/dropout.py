"""Dropout whose random numbers cost little on a CPU, and are the same however many processes share a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout by one random byte a value: [n, …] -> [n, …]. `p` acts to the nearest 1/256.

    Values whose byte lies below `kept` stay, multiplied by 256 ÷ kept. torch draws a whole random number for each value, on one
    core: 30 ms of the 200 ms that a step of `squeezenet-cifar` takes. Here each 64-bit number serves eight values.

    `before` and `after` count the images of the batch that other processes have: their bytes are drawn too and left unused, so
    that several processes drop what one would.
    """

    before = after = 0

    def forward(self, x: Tensor) -> Tensor:
        mask, kept = self.mask(x)
        return x * (mask < kept) * (256 / kept) if mask.numel() else x

    def mask(self, x: Tensor) -> tuple[Tensor, int]:
        """A random byte for each value of x, laid out as x is, and the number below which values are kept.

        No bytes, uint8 [0, …], where everything is kept.
        """
        if not self.training or self.p == 0:
            return torch.empty((0,) * x.ndim, dtype=torch.uint8), 256
        each = x[:1].numel() if len(x) else 0
        values = each * (self.before + len(x) + self.after)
        numbers = torch.empty((values + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        dense = torch.empty_like(x, dtype=torch.uint8).stride()
        mask = numbers.view(torch.uint8)[each * self.before :].as_strided(x.shape, dense)
        return mask, max(round(256 * (1 - self.p)), 1)
