"""From a quantised network to the arrays of a file."""

import numpy as np

from squeezekit.quantization.quantized_arrays import BIAS_STEPS, round_to_grid


def test_biases_lose_less_than_a_hundredth_of_their_size():
    biases = np.random.default_rng(0).normal(0, 0.3, 64).astype(np.float32)
    rounded = round_to_grid(biases, BIAS_STEPS)
    size = np.sqrt(np.square(biases).mean())
    assert 0 < np.abs(rounded - biases).max() < 0.008 * size
    assert (round_to_grid(np.zeros(3, np.float32), BIAS_STEPS) == 0).all()
