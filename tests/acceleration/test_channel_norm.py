"""Normalization over the channels of each pixel, by kernels."""

import pytest
import torch

from squeezekit.acceleration.channel_norm import FusedChannelNorm
from tests.fixtures.gradients import check_channel_norm

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kernels")]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_channels_are_normalised_pixel_by_pixel_with_torchs_gradients(dtype):
    check_channel_norm(FusedChannelNorm, dtype)
