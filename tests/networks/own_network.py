"""A network as a user writes one: a configuration and a module, registered by name."""

import torch.nn.functional as F
from pydantic import Field
from torch import nn

from squeezekit.networks import NetworkConfig, register_network


class OwnConfig(NetworkConfig):
    name: str = "own-network"
    width: int = Field(8, ge=1)

    def build(self):
        return OwnNetwork(self)


class OwnNetwork(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.conv1 = nn.Conv2d(config.channels, config.width, 3, stride=2, padding=1)
        self.norm1 = nn.BatchNorm2d(config.width)
        self.conv2 = nn.Conv2d(config.width, 2 * config.width, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * config.width)
        # Before its convolution, where no layer can take it up.
        self.norm3 = nn.BatchNorm2d(2 * config.width)
        self.conv3 = nn.Conv2d(2 * config.width, 2 * config.width, 3, padding=1)
        self.linear = nn.Linear(2 * config.width, config.classes)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        x = x + self.conv3(F.relu(self.norm3(x)))
        return self.linear(x.mean((2, 3)))


register_network(OwnConfig)
