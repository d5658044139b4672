"""From a network on grids to the arrays of a `.sqz` file: batch normalisation folded, everything in few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from squeezekit.compression.forms import Quantised
from squeezekit.compression.octaves import nearest_octave
from squeezekit.compression.quantised_training import GridWeight
from squeezekit.compression.tensors import Array
from squeezekit.networks.folding import convolutions
from squeezekit.networks.squeezenet import SqueezeNet

# Steps of a bias in the root mean square of its layer's.
BIAS_STEPS = 16


def rounded(network: SqueezeNet, grids: Sequence[GridWeight]) -> dict[str, Array | Quantised]:
    """The weights of the network without batch normalisation, by name.

    Each output channel's grid is that of its filter, times what batch normalisation multiplies it by; the sign of that goes
    to the integers.
    """
    grid_of: Mapping[int, GridWeight] = {id(grid.weight): grid for grid in grids}
    weights: dict[str, Array | Quantised] = {}
    with torch.no_grad():
        for convolution in convolutions(network):
            grid = grid_of[id(convolution.module.weight)]
            steps = grid.step.flatten()
            scales = nearest_octave((convolution.gain * steps).abs().numpy())
            signs = convolution.gain.sign()
            integers = grid.integers() * signs.reshape(-1, 1, 1, 1)
            weights[f"{convolution.name}.weight"] = Quantised(integers.contiguous().numpy().astype(np.int64), scales)
            # A scale that was rounded up moves the mean as well.
            gain = torch.where(signs == 0, 0, signs * torch.from_numpy(scales) / steps)
            weights[f"{convolution.name}.bias"] = on_grid(convolution.shift(gain).numpy())
    return weights


def on_grid(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """A bias [out], in steps of a sixteenth of its root mean square."""
    step = np.float32(np.sqrt(np.mean(np.square(bias, dtype=np.float64))) / BIAS_STEPS)
    if step < np.finfo(np.float32).tiny * 2**20:
        return np.zeros_like(bias)
    # Adding zero makes -0 a 0.
    found: NDArray[np.float32] = (np.rint(bias / step) + 0).astype(np.float32) * step
    return found
