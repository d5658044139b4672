"""ShuffleNetV2 as the paper has it."""

import pytest
import torch

from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.shufflenet import BasicUnit, ChannelShuffle


def test_halves_take_turns_in_either_order_of_memory():
    x = torch.arange(2 * 6 * 3 * 2.0).view(2, 6, 3, 2)
    for each in (x, x.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(ChannelShuffle()(each), x[:, [0, 3, 1, 4, 2, 5]])


def test_half_of_the_channels_passes_unchanged():
    torch.manual_seed(0)
    unit, x = BasicUnit(8, batch_norm=True).eval(), torch.randn(2, 8, 5, 5)
    out = unit(x)
    assert torch.equal(out[:, ::2], x[:, :4]) and torch.allclose(out[:, 1::2], unit.branch(x[:, 4:]))


def test_sides_and_widths_are_those_of_the_paper():
    rows = {row.layer: row for row in layer_table(network_config("shufflenetv2_050")).layers}
    # Ends of stages 2, 3 and 4, and the last convolution, from an image that the stem leaves at 32 × 32.
    ends = ("features.0.0", "features.4.shuffle", "features.12.shuffle", "features.16.shuffle", "features.17.0")
    assert [rows[end].output for end in ends] == [(24, 32, 32), (48, 16, 16), (96, 8, 8), (192, 4, 4), (1024, 4, 4)]


@pytest.mark.parametrize("side", [9, 16, 33])
def test_odd_sides_are_rounded_up(side):
    assert network_config("shufflenetv2_050", image_size=side, classes=3).build()(torch.zeros(2, 3, side, side)).shape == (2, 3)
