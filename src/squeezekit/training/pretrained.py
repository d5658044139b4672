"""What training may start from, in place of weights drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from squeezekit.networks.config import NetworkConfig


class Pretrained(Protocol):
    """A network that has been trained before."""

    @property
    def network(self) -> str:
        """The name of its preset."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Those of its configuration that the new network must share."""

    def weights(self, network: NetworkConfig, images: Tensor) -> dict[str, Tensor]:
        """Its weights as those of `network`, the last layer perhaps of other classes.

        `images` [n, c, h, w], some of those to train on, give statistics where it has none. Raises SqueezekitError.
        """
