"""From a network on grids to the arrays of a `.sqz` file: batch normalisation folded, everything in few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from squeezekit.coding.forms import Quantised
from squeezekit.coding.octaves import FINE, nearest_octave
from squeezekit.coding.tensors import Array
from squeezekit.compression.quantised_training import GridWeight
from squeezekit.networks.foldable import Foldable, along
from squeezekit.networks.folding import folded, layers

# Steps to the root mean square of a bias, and of what has neither filters nor a bias: scales, other normalisations.
BIAS_STEPS, FINE_STEPS = 16, 128


def rounded(network: Foldable, grids: Sequence[GridWeight]) -> dict[str, Array | Quantised]:
    """The weights of the network in use, its batch normalisation folded, by name.

    Each output channel's grid is that of its filter, times what batch normalisation multiplies it by; the sign of that goes
    to the integers.
    """
    grid_of: Mapping[int, GridWeight] = {id(grid.weight): grid for grid in grids}
    weights: dict[str, Array | Quantised] = {}
    with torch.no_grad():
        for layer in layers(network):
            grid = grid_of[id(layer.module.weight)]
            steps = grid.step.flatten()
            scales = nearest_octave((layer.gain * steps).abs().numpy(), FINE)
            signs = layer.gain.sign()
            integers = grid.integers() * along(signs, grid.weight)
            weights[f"{layer.name}.weight"] = Quantised(integers.contiguous().numpy().astype(np.int64), scales)
            # A scale that was rounded up moves the mean as well.
            gain = torch.where(signs == 0, 0, signs * torch.from_numpy(scales) / steps)
            weights[f"{layer.name}.bias"] = on_grid(layer.shift(gain).numpy(), BIAS_STEPS)
        for name, others in folded(network).state_dict().items():
            if name not in weights:
                weights[name] = on_grid(others.numpy(), FINE_STEPS)
    return weights


def on_grid(numbers: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """Numbers, so many steps to their root mean square."""
    step = np.float32(np.sqrt(np.mean(np.square(numbers, dtype=np.float64))) / steps)
    if step < np.finfo(np.float32).tiny * 2**20:
        return np.zeros_like(numbers)
    # Adding zero makes -0 a 0.
    found: NDArray[np.float32] = (np.rint(numbers / step) + 0).astype(np.float32) * step
    return found
