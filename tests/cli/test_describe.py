"""What `describe` says about memory."""

import json

import pytest
from torch import nn

from squeezekit.cli import main
from squeezekit.networks import NetworkConfig, network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.registry import NETWORKS

SMALL = ["--base-e", "64", "--incr-e", "32", "--depth", "3", "--pool-before", "2"]


class Stretched(NetworkConfig):
    def build(self):
        layers = nn.Conv2d(self.channels, 4, 3, padding=1), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, self.classes))


def test_memory_row_by_row_stands_beside_that_layer_by_layer(capsys):
    assert main(["describe", "squeezenet-cifar", *SMALL]) == 0
    layers, rows = capsys.readouterr().out.splitlines()[-2:]
    assert main(["describe", "squeezenet-cifar", *SMALL, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    by_layer, by_rows, mixed = (table[name] for name in ("activation_bytes", "row_by_row_bytes", "mixed_bytes"))
    assert mixed <= by_rows < by_layer / 4
    assert layers.endswith(f"peak activations {by_layer / 1024:,.0f} KB in int8")
    assert rows == f"peak activations row by row {by_rows / 1024:,.0f} KB" and table["layer_by_layer_from"] is None


@pytest.mark.slow
def test_where_a_mixture_needs_less_it_says_from_which_layer_on(capsys):
    assert main(["describe", "nano"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "peak activations row by row 31 KB; 28 KB with layer by layer from features.10.expand1x1 on"
    )


def test_a_network_that_is_not_known_to_go_by_rows(monkeypatch, capsys):
    table = layer_table(Stretched(name="stretched"))
    assert (table.row_by_row_bytes, table.mixed_bytes, table.layer_by_layer_from) == (None, None, None)
    assert table.activation_bytes == 4 * 32 * 32 + 4 * 64 * 64
    monkeypatch.setitem(NETWORKS, "stretched", (Stretched, {}))
    assert main(["describe", "stretched"]) == 0
    assert "row by row: unknown" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("squeezenet-cifar", 0.13), ("resnet20", 0.38), ("mobilenetv2_050", 0.25)])
def test_rows_take_a_fraction_of_layers(name, most):
    table = layer_table(network_config(name))
    assert table.mixed_bytes <= table.row_by_row_bytes and table.mixed_bytes < most * table.activation_bytes
