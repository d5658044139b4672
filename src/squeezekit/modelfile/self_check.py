"""Inputs that any machine can make, and the logits that the network must answer with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.modelfile.section import Section
from squeezekit.networks.config import NetworkConfig
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.measurement import logits_of

SEEDS = (1, 2, 3)
CELL = 4
# Of the largest logit: what the order of additions may change in float32, with room.
TOLERANCE = 1e-3


class SelfCheck(Section):
    """The section `chck`: the logits [inputs, classes] for the inputs of `seeds`."""

    subject = "its self-check"

    seeds: tuple[int, ...] = Field(min_length=1, max_length=8)
    logits: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, network: nn.Module, config: NetworkConfig) -> SelfCheck:
        """What a network answers now."""
        answers = _answers(network, config, SEEDS)
        return cls(seeds=SEEDS, logits=tuple(tuple(float(f"{x:.5g}") for x in row) for row in answers))

    @classmethod
    def fitting(cls, content: Any, classes: int) -> SelfCheck:
        """What a file says, for a network of so many classes; raises SqueezekitError."""
        found = cls.read(content)
        if len(found.logits) != len(found.seeds) or any(len(row) != classes for row in found.logits):
            raise SqueezekitError("damaged: its self-check does not fit its network; get the file again")
        return found

    def difference(self, network: nn.Module, config: NetworkConfig) -> float:
        """How far the answers of a network are from those expected, as a share of the largest; fine below TOLERANCE."""
        expected = np.array(self.logits)
        return float(np.abs(_answers(network, config, self.seeds) - expected).max() / max(np.abs(expected).max(), 1e-6))


def check_image(seed: int, size: int, channels: int) -> NDArray[np.uint8]:
    """Cells of 4 × 4 pixels of one colour each: uint8 [size, size, channels].

    Colours come row by row and channel by channel from x = 1664525·x + 1013904223 modulo 2**32, the highest byte of each x
    after `seed` (Press et al., “Numerical Recipes”, section 7.1).
    """
    cells, state = -(-size // CELL), seed
    colours = np.empty(cells * cells * channels, np.uint8)
    for i in range(len(colours)):
        state = (1664525 * state + 1013904223) & 0xFFFFFFFF
        colours[i] = state >> 24
    image = colours.reshape(cells, cells, channels).repeat(CELL, 0).repeat(CELL, 1)
    return image[:size, :size]


def _answers(network: nn.Module, config: NetworkConfig, seeds: tuple[int, ...]) -> NDArray[np.float32]:
    pixels = np.stack([check_image(seed, config.image_size, config.channels) for seed in seeds])
    images = ImageSet(pixels, np.zeros(len(seeds), np.int64), ("",), "", mirrorable=False)
    logits, _ = logits_of(network, Batches(images, batch_size=len(seeds), mean=config.mean, std=config.std))
    answers: NDArray[np.float32] = torch.nan_to_num(logits).numpy()
    return answers
