"""From a network on grids to the arrays of a `.sqz` file: batch normalization folded, everything in few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from squeezekit.acceleration.folding import folded, layers
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import FINE, nearest_log_scale
from squeezekit.codec.tensors import Array
from squeezekit.networks.named_layers import NamedLayers, along
from squeezekit.quantization.qat import GridWeight

# Steps to the root mean square of a bias, and of what has neither filters nor a bias: scales, other normalisations.
BIAS_STEPS, FINE_STEPS = 16, 128


def rounded(network: NamedLayers, grids: Sequence[GridWeight]) -> dict[str, Array | Quantized]:
    """The weights of the network in use, its batch normalization folded, by name.

    Each output channel's grid is that of its filter, times what batch normalization multiplies it by; the sign of that goes
    to the integers.
    """
    grid_of: Mapping[int, GridWeight] = {id(grid.weight): grid for grid in grids}
    weights: dict[str, Array | Quantized] = {}
    with torch.no_grad():
        for layer in layers(network):
            grid = grid_of[id(layer.module.weight)]
            steps = grid.step.flatten()
            scales = nearest_log_scale((layer.gain * steps).abs().numpy(), FINE)
            signs = layer.gain.sign()
            integers = grid.integers() * along(signs, grid.weight)
            weights[f"{layer.name}.weight"] = Quantized(integers.contiguous().numpy().astype(np.int64), scales)
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
