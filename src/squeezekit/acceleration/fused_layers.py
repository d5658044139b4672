"""Layers of our networks and of torch's that compute what follows a convolution in as few passes over memory as can be."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.acceleration.fused_ops import FusedBatchNorm, finished, finished_and_pooled, normalized_and_clipped
from squeezekit.acceleration.pooling import MaxPool, averaged
from squeezekit.networks.fire import Fire
from squeezekit.networks.resnet import BasicBlock
from squeezekit.networks.squeezenet import Head


class FusedFire(Fire):
    """`Fire`, each layer's normalization, ReLU and bypass as one."""

    def forward(self, x: Tensor) -> Tensor:
        beside = None if self.bypass is None else self.bypass(x)
        return finished(self._branches(x), self.expand_norm, bypass=beside)

    def pooled(self, x: Tensor, pool: MaxPool) -> Tensor:
        """Without a bypass, and with the pooling that follows it: [n, in_channels, h, w] -> [n, out_channels, h', w']."""
        return finished_and_pooled(self._branches(x), self.expand_norm, pool)

    def _branches(self, x: Tensor) -> list[Tensor]:
        squeezed = finished([self.squeeze(x)], self.squeeze_norm)
        return [expand(squeezed) for expand in self.expands()]


class FusedSequential(nn.Sequential):
    """Layers one after the other; batch normalization, a ReLU and a pooling that follow each other as one."""

    @staticmethod
    def serves(layers: nn.Sequential) -> bool:
        """Whether nobody watches single layers, which are not called here."""
        return not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)

    def forward(self, x: Tensor) -> Tensor:
        layers: list[nn.Module | None] = [*self, None, None]
        while (layer := layers.pop(0)) is not None:
            following, third = layers[:2]
            if isinstance(layer, FusedBatchNorm) and type(following) is nn.ReLU:
                x = finished_and_pooled([x], layer, third) if isinstance(third, MaxPool) else finished([x], layer)
                del layers[: 2 if isinstance(third, MaxPool) else 1]
            elif isinstance(layer, FusedBatchNorm) and type(following) is nn.ReLU6:
                x = normalized_and_clipped(x, layer, 6.0)
                del layers[0]
            elif type(layer) is nn.ReLU and isinstance(following, MaxPool):
                x = following.rectified(x)
                del layers[0]
            elif type(layer) is FusedFire and layer.bypass is None and isinstance(following, MaxPool):
                x = layer.pooled(x, following)
                del layers[0]
            else:
                x = layer(x)
        return x


class FusedHead(Head):
    """`Head`, dropout and average as one."""

    def forward(self, x: Tensor) -> Tensor:
        dropout, convolution = self
        if self.relu:
            return super().forward(x)
        logits: Tensor = convolution(averaged(x, dropout)[:, :, None, None])
        return logits.flatten(1)


class FusedBlock(BasicBlock):
    """A residual block, its first normalization and ReLU as one."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(finished([self.conv1(x)], self.norm1)))
        return F.relu(out + self.skipped(x))


class PaddedStem(nn.Conv2d):
    """A first convolution: on a GPU, images get channels of zeros up to the eight that its matrix units want.

    Shapes: [n, in_channels, h, w] -> [n, out_channels, h', w'].
    """

    @staticmethod
    def serves(layer: nn.Conv2d) -> bool:
        """Whether `layer` sees images, of at most four channels."""
        return layer.groups == 1 and layer.in_channels <= 4

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_cuda:
            return super().forward(x)
        x, weight = (F.pad(each, (0, 0, 0, 0, 0, 8 - self.in_channels)) for each in (x, self.weight))
        out: Tensor = self._conv_forward(x, weight, self.bias)
        return out
