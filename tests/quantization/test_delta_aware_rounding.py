"""Rounding that keeps the integers of an earlier file."""

import numpy as np
import torch

from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import nearest_log_scale
from squeezekit.quantization.delta_aware_rounding import delta_aware_round
from squeezekit.quantization.fisher import FisherInformation


def test_the_price_of_a_bit_decides_how_much_changes():
    random = np.random.default_rng(0)
    old = Quantized(random.integers(-2, 3, (8, 6, 3, 3)), nearest_log_scale(np.full(8, 0.1, np.float32)))
    weight = torch.from_numpy(old.dequantize() + random.normal(0, 0.04, (8, 6, 3, 3)).astype(np.float32))
    fisher = FisherInformation(torch.eye(54), torch.ones(8), torch.zeros(8))
    changes = [
        int((delta_aware_round(weight, old, fisher, nats_per_bit) != old.integers).sum())
        for nats_per_bit in (1e-9, 1e-4, 1e-3, 1e3)
    ]
    assert changes == sorted(changes, reverse=True) and changes[0] > 50 and changes[-1] == 0
    # Where a bit is worth nothing, every weight goes to the nearest integer.
    nearest = np.rint(weight.numpy() / old.scales[:, None, None, None])
    assert (delta_aware_round(weight, old, fisher, 1e-9) == nearest).mean() > 0.95
