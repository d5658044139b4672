"""Normalization over the channels of each pixel."""

import pytest
import torch

from squeezekit.networks.channel_norm import ChannelNorm
from tests.fixtures.gradients import check_channel_norm


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_channels_are_normalised_pixel_by_pixel_with_torchs_gradients(dtype):
    check_channel_norm(ChannelNorm, dtype)
