"""Rows that are alive at once, counted by hand."""

import pytest
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from squeezekit.networks import network_config
from squeezekit.networks.activations import Activation, RowWindow, activations_of
from squeezekit.networks.fire import Fire
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.resnet import BasicBlock
from squeezekit.networks.row_by_row import Mixture, bytes_by_layer, least_mixture, row_by_row
from squeezekit.networks.tracing import traced


class Averaged(nn.Module):
    """Layers and the average over all pixels: sums of 32 bits."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x).mean((2, 3))


def activations(network, channels=1, side=8):
    graph = traced(network.eval())
    ShapeProp(fx.GraphModule(network, graph)).propagate(torch.zeros(1, channels, side, side))
    return activations_of(graph, network)


def found(*layers, **shape):
    """Bytes, and the rows that each layer but the average keeps."""
    rows = row_by_row(activations(Averaged(*layers), **shape))
    return rows.bytes, {name.removeprefix("layers_"): kept for name, kept in rows.rows.items() if name not in ("x", "mean")}


def test_a_chain_of_windows_keeps_three_rows_each():
    # When a row of the second layer is made: two rows of the image, three of the first layer, the row itself, the sum.
    expected = 2 * 8 + 3 * 16 + 24 + 4 * 3
    chain = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 3, 3, padding=1)
    assert found(*chain) == (expected, {"0": {"x": 3}, "3": {"layers_0": 3}})


def test_both_branches_of_a_fire_module_read_the_same_squeezed_rows():
    # The 3×3 branch has read the row above, so that two squeezed rows are left while the 1×1 branch is made.
    expected = 2 * 16 + (3 + 5) * 8 + 4 * (3 + 5)
    kept = {"0_squeeze": {"x": 1}, "0_expand1x1": {"layers_0_squeeze": 2}, "0_expand3x3": {"layers_0_squeeze": 3}}
    assert found(Fire(4, 2, 3, 5), channels=4) == (expected, kept)


def test_a_bypass_waits_for_the_rows_below():
    size, kept = found(Fire(8, 2, 3, 5, bypass="identity"), channels=8)
    assert kept["add"] == {"x": 2, "layers_0_expand1x1": 1, "layers_0_expand3x3": 1}
    # Two rows of the input, two squeezed ones, both branches, what they add up to, the sum.
    assert size == 2 * 64 + 2 * 16 + 64 + 64 + 4 * 8


def test_a_shortcut_with_a_stride_keeps_every_other_row():
    size, kept = found(BasicBlock(3, 6, projection=True, batch_norm=True), channels=3)
    # Rows of the image: 0 for the shortcut, 1 to 3 for the first convolution, of which the shortcut will read 2.
    assert kept["0_shortcut"] == {"x": 2} and kept["0_conv1"] == {"x": 3} and kept["0_conv2"] == {"layers_0_conv1": 3}
    # While the first convolution makes its third row; the sum has begun.
    assert size == 4 * 24 + 3 * 24 + 4 * 6


def test_a_shortcut_of_slices_and_zeros_does_so_too():
    _bytes, kept = found(BasicBlock(3, 6, projection=False, batch_norm=False), channels=3)
    assert kept["pad"] == {"x": 2} and kept["add"] == {"layers_0_conv2": 1, "pad": 1}


@pytest.mark.parametrize(
    ("pool", "rows"),
    [(nn.MaxPool2d(2), 2), (nn.MaxPool2d(3, 2), 3), (nn.MaxPool2d(3, 2, ceil_mode=True), 3), (nn.AvgPool2d(2), 2)],
)
def test_poolings_keep_their_windows(pool, rows):
    row = 4 * pool(torch.zeros(1, 4, 8, 8)).shape[3]
    assert found(nn.Conv2d(1, 4, 1), pool) == (rows * 32 + row + 16, {"0": {"x": 1}, "1": {"layers_0": rows}})


def test_poolings_one_after_the_other():
    # The second row of the first pooling is made beside its first.
    assert found(nn.Conv2d(1, 4, 1), nn.MaxPool2d(2), nn.MaxPool2d(2))[0] == 2 * 32 + 2 * 16 + 16


def test_dilated_and_depthwise_windows_reach_farther():
    assert found(nn.Conv2d(2, 2, 3, padding=2, dilation=2, groups=2), channels=2)[1] == {"0": {"x": 5}}
    assert found(nn.Conv2d(2, 2, 3, padding="same", dilation=2), channels=2)[1] == {"0": {"x": 5}}
    # Without padding, and where the image ends before the window does.
    assert found(nn.Conv2d(1, 1, 5))[1] == {"0": {"x": 5}} and found(nn.Conv2d(1, 1, 9, padding=4), side=4)[1] == {"0": {"x": 4}}


def test_a_running_maximum_keeps_a_byte_a_channel_and_a_running_sum_four():
    maximum, mean = (
        layer_table(network_config("staged", block="plain", last=last, widths=(8,), depths=(1,), halved=(False,)))
        for last in ("max", "mean")
    )
    assert mean.row_by_row_bytes - maximum.row_by_row_bytes == 3 * 8


def test_rows_that_nobody_reads_are_not_made():
    size, kept = found(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 1, 1, stride=2))
    assert kept == {"0": {"x": 1}, "1": {"layers_0": 1}} and size == max(8 + 32 + 4, 32 + 4 + 4)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.squeeze, self.flat, self.linear = nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(128, 3)

    def forward(self, x):
        return self.linear(self.flat(x * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()))


def test_what_needs_the_whole_map_keeps_it():
    rows = row_by_row(activations(Gated(), channels=2))
    assert rows.rows["mul"] == {"x": 8, "sigmoid": 1} and rows.rows["flat"] == {"mul": 8}
    # The map, and what it is flattened into.
    assert rows.bytes == 2 * 128


def narrow_after_wide():
    """A wide map, which is pooled to 64 bytes, and six layers that leave it as small."""
    wide = nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2)
    return activations(Averaged(*wide, *(nn.Conv2d(4, 4, 3, padding=1) for _ in range(6))))


def test_large_maps_by_rows_and_small_ones_whole():
    network = narrow_after_wide()
    by_layer, rows = bytes_by_layer(network), row_by_row(network)
    assert by_layer[:4] == [64, 64 + 256, 256 + 64, 64 + 64]
    assert least_mixture(network, rows) == Mixture(64 + 2 * 32, network[3]) and network[3].name == "layers_2"
    assert rows.bytes > 128


def test_rows_alone_may_need_least():
    chain = activations(Averaged(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, padding=1)))
    assert least_mixture(chain, row_by_row(chain)) == Mixture(100, None)


def test_rows_may_need_more_than_layers():
    # Each row of two branches needs all of a large map: one of these after the other, or both at once.
    image = Activation("image", 4, 1)
    large = [Activation(name, 4, 10, (RowWindow("image"),)) for name in ("large1", "large2")]
    small = [Activation(name, 4, 1, (each.whole,)) for name, each in zip(("small1", "small2"), large, strict=True)]
    both = Activation("both", 4, 1, (RowWindow("small1"), RowWindow("small2")))
    network = [image, large[0], small[0], large[1], small[1], both]
    rows = row_by_row(network)
    assert rows.bytes > 2 * 40 and rows.rows["both"] == {"small1": 1, "small2": 1}
    assert bytes_by_layer(network) == [4, 44, 48, 48, 48, 12]
    assert least_mixture(network, rows).bytes <= 48


class Turned(nn.Module):
    def forward(self, x):
        return x.transpose(2, 3)


@pytest.mark.parametrize("layer", [Turned(), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")])
def test_what_is_not_known_to_go_by_rows_does_not(layer):
    network = activations(Averaged(nn.Conv2d(1, 1, 1), layer))
    assert row_by_row(network) is None and max(bytes_by_layer(network)) >= 128
