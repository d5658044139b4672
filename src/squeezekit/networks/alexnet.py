"""AlexNet (Krizhevsky et al., 2012), the network that SqueezeNet is measured against."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig, Share
from squeezekit.networks.dropout import Dropout


class AlexNetConfig(NetworkConfig):
    """The grouped form of the Caffe reference, for 227 × 227 images: 60,965,224 parameters at 1,000 classes."""

    image_size: int = Field(227, ge=67, le=1024, description="side of an image in pixels")
    dropout: Share = Field(0.5, description="dropout before the first two fully connected layers")

    def build(self) -> AlexNet:
        """The untrained network."""
        return AlexNet(self)


class AlexNet(nn.Module):
    """Five convolutions, three fully connected layers.

    Shapes: float [n, channels, 227, 227] -> logits [n, classes].
    """

    def __init__(self, config: AlexNetConfig) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(config.channels, 96, 11, stride=4),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        side = ((((config.image_size - 11) // 4 + 1 - 3) // 2 + 1 - 3) // 2 + 1 - 3) // 2 + 1
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * side * side, 4096),
            nn.ReLU(inplace=True),
            Dropout(config.dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            Dropout(config.dropout),
            nn.Linear(4096, config.classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x))
        return logits
