"""Log-spaced scales are the same on every machine."""

import numpy as np
import pytest

from squeezekit.codec.coder_tables import COARSE, FINE
from squeezekit.codec.log_scales import from_log_steps, nearest_log_scale, resolution_of, to_log_steps


@pytest.mark.parametrize("resolution", [COARSE, FINE])
def test_scales_are_exact_and_near(resolution):
    exponents = np.arange(127 * resolution + 1)
    scales = from_log_steps(exponents, resolution)
    assert (to_log_steps(scales, resolution) == exponents).all()
    assert np.allclose(np.log2(scales.astype(np.float64)), exponents / resolution - 64, atol=1e-6)
    numbers = np.random.default_rng(0).lognormal(size=1000, sigma=5).astype(np.float32)
    assert np.abs(np.log2(nearest_log_scale(numbers, resolution) / numbers)).max() < 0.5 / resolution + 1e-5
    assert to_log_steps(np.float32([0.1]), resolution) is None
    assert to_log_steps(np.float32([np.inf]), resolution) is None and to_log_steps(np.float32([-1]), resolution) is None


def test_coarse_scales_are_among_the_fine():
    coarse = np.arange(0, 127 * COARSE + 1, 7)
    scales = from_log_steps(coarse)
    assert (to_log_steps(scales, FINE) == coarse * (FINE // COARSE)).all()
    assert resolution_of(scales) == COARSE and resolution_of(from_log_steps(np.array([64, 65]), FINE)) == FINE
