"""The self-check of a file: inputs that any machine can make, and the logits that the network must give for them."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.modelfile.check_image import MOST_SEEDS, check_pixels
from squeezekit.modelfile.section import JsonSection
from squeezekit.networks.config import NetworkConfig
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.training.measurement import images_at_once, logits_of

SEEDS = (1, 2, 3)
FLOAT32 = float(np.finfo(np.float32).max)


class SelfCheck(JsonSection):
    """The section `chck`: the logits [inputs, classes] for the inputs of `seeds`."""

    title = "its self-check"

    seeds: tuple[Annotated[int, Field(ge=0, lt=1 << 32)], ...] = Field(min_length=1, max_length=MOST_SEEDS)
    logits: tuple[tuple[Annotated[float, Field(ge=-FLOAT32, le=FLOAT32)], ...], ...]

    @classmethod
    def of(cls, network: nn.Module, config: NetworkConfig) -> SelfCheck:
        """The self-check of a network in evaluation mode, from its logits now; raises RunFailed where they are not finite."""
        logits = _logits(network, config, SEEDS)
        if not np.isfinite(logits).all():
            raise RunFailed(
                "the network's logits are not finite, so it answers nothing; train it again, with a lower learning rate"
            )
        return cls(seeds=SEEDS, logits=tuple(tuple(float(f"{x:.5g}") for x in row) for row in logits))

    @classmethod
    def read_for(cls, content: Any, classes: int) -> SelfCheck:
        """The self-check that a file holds, for a network of so many classes; raises SqueezekitError."""
        found = cls.read(content)
        if len(found.logits) != len(found.seeds) or any(len(row) != classes for row in found.logits):
            raise SqueezekitError("damaged: its self-check does not fit its network; get the file again")
        return found

    def difference(self, network: nn.Module, config: NetworkConfig) -> float:
        """The largest difference from the expected logits, as a share of the largest of them; below TOLERANCE it has passed.

        Infinite for a network whose logits are not finite.
        """
        expected, found = np.array(self.logits), _logits(network, config, self.seeds)
        if not np.isfinite(found).all():
            return float("inf")
        return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6))


def check_image(seed: int, size: int, channels: int) -> NDArray[np.uint8]:
    """`check_pixels` as an array: uint8 [size, size, channels]."""
    return np.frombuffer(check_pixels(seed, size, channels), np.uint8).reshape(size, size, channels)


def _logits(network: nn.Module, config: NetworkConfig, seeds: tuple[int, ...]) -> NDArray[np.float32]:
    pixels = np.stack([check_image(seed, config.image_size, config.channels) for seed in seeds])
    images = ImageSet(pixels, np.zeros(len(seeds), np.int64), ("",), "", mirrorable=False)
    size = min(len(seeds), images_at_once(config.image_size))
    found, _labels = logits_of(network, Batches(images, batch_size=size, mean=config.mean, std=config.std))
    logits: NDArray[np.float32] = found.numpy()
    return logits
