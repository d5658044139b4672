"""What training may start from, in place of weights drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.data.image_set import ImageSet
from squeezekit.networks.config import NetworkConfig


class Pretrained(Protocol):
    """A network that has been trained before."""

    @property
    def name(self) -> str:
        """As a user calls it."""

    @property
    def network(self) -> str:
        """The name of its preset."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Those of its configuration that the new network must share."""

    def validation(self, images: ImageSet, fingerprints: tuple[str, str]) -> NDArray[np.int64] | None:
        """Which of the training `images` it has not learnt from; None where it was trained on others. Raises SqueezekitError."""

    def weights(self, network: NetworkConfig, images: Tensor) -> dict[str, Tensor]:
        """Its weights as those of `network`, the last layer perhaps of other classes.

        `images` [n, c, h, w], some of those to train on, give statistics where it has none. Raises SqueezekitError.
        """
