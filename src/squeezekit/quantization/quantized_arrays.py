"""From a quantised network to the arrays of a `.sqz` file: batch normalization folded, everything in few bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from squeezekit.acceleration.folding import folded, folded_layers
from squeezekit.codec.coder_tables import FINE
from squeezekit.codec.encodings import Array, Quantized
from squeezekit.codec.log_scales import nearest_log_scale
from squeezekit.networks.named_layers import per_channel
from squeezekit.quantization.qat import QuantizedWeight

# Steps to the root mean square of a bias, and of other arrays that are no weights, such as those of other normalizations.
BIAS_STEPS, OTHER_STEPS = 64, 128


def quantized_arrays(network: nn.Module, weights: Sequence[QuantizedWeight]) -> dict[str, Array | Quantized]:
    """The arrays of the network in evaluation mode, its batch normalization folded, by name.

    The scale of an output channel is the step of its grid times the gain of batch normalization. Where that is negative, the
    integers change their signs.
    """
    weight_of = {id(each.weight): each for each in weights}
    arrays: dict[str, Array | Quantized] = {}
    with torch.no_grad():
        for layer in folded_layers(network):
            quantized = weight_of[id(layer.module.weight)]
            steps = quantized.step.flatten()
            scales = nearest_log_scale((layer.gain * steps).abs().numpy(), FINE)
            signs = layer.gain.sign()
            integers = quantized.integers() * per_channel(signs, quantized.weight)
            arrays[f"{layer.name}.weight"] = Quantized(integers.contiguous().numpy().astype(np.int64), scales)
            # Rounding the scale changes the mean as well.
            gain = torch.where(signs == 0, 0, signs * torch.from_numpy(scales) / steps)
            arrays[f"{layer.name}.bias"] = round_to_grid(layer.shift(gain).numpy(), BIAS_STEPS)
        for name, other in folded(network).state_dict().items():
            if name not in arrays:
                arrays[name] = round_to_grid(other.numpy(), OTHER_STEPS)
    return arrays


def round_to_grid(numbers: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """Numbers rounded to a grid of so many steps to their root mean square."""
    step = np.float32(np.sqrt(np.mean(np.square(numbers, dtype=np.float64))) / steps)
    if step < np.finfo(np.float32).tiny * 2**20:
        return np.zeros_like(numbers)
    # Adding zero makes -0 a 0.
    rounded: NDArray[np.float32] = (np.rint(numbers / step) + 0).astype(np.float32) * step
    return rounded
