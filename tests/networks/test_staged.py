"""Networks of stages: shapes, whitening, and what folding makes of pooling before normalization."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from squeezekit import SqueezekitError, train
from squeezekit.acceleration.folding import folded
from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.registry import NETWORKS
from squeezekit.networks.staged import StagedConfig, whitening_filters
from tests.fixtures.exported import lively

STAGES = {"widths": (6, 8), "depths": (2, 2), "halved": (True, False), "image_size": 16, "stem_width": 5}
BLOCKS = ["plain", "fire", "inverted"]
PRESETS = [name for name, (kind, _fields) in NETWORKS.items() if kind is StagedConfig]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_takes_what_it_says(preset):
    config = network_config(preset)
    table, work = layer_table(config), config.work()
    # Biases are not counted, and no norm.
    assert 0.9 * table.parameters < work.parameters <= table.parameters
    assert work.macs >= table.macs
    assert work.values >= max(math.prod(layer.input) + math.prod(layer.output) for layer in table.layers)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("stem", ["learned", "whitened"])
def test_folding_changes_no_logit(block, pooled, stem):
    torch.manual_seed(0)
    network = lively(network_config("staged", **STAGES, block=block, pooled=pooled, stem=stem).build())
    plain = folded(network)
    assert not [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    assert plain.state_dict().keys() == folded(plain.config.build()).state_dict().keys()
    images = torch.randn(3, 3, 16, 16)
    assert torch.allclose(plain(images), network(images), rtol=1e-4, atol=1e-5)


def test_pooling_before_a_norm_of_negative_gains_is_left_as_it_is():
    torch.manual_seed(0)
    network = lively(network_config("staged", **STAGES, block="plain").build())
    network.blocks[0].norm.weight.data[0] = -1
    images = torch.randn(3, 3, 16, 16)
    assert torch.allclose(folded(network)(images), network(images), rtol=1e-4, atol=1e-5)


def test_whitened_patches_have_covariance_1():
    torch.manual_seed(0)
    images = torch.randn(40, 3, 9, 9).cumsum(2) @ torch.randn(9, 9)
    filters = whitening_filters(images, 2)
    found = nn.functional.conv2d(images, filters).transpose(0, 1).flatten(1)
    assert torch.allclose(found @ found.T / found.shape[1], torch.eye(12), atol=5e-3)


def test_a_whitened_first_layer_sees_the_images_and_stays(tmp_path):
    fields = {**STAGES, "block": "plain", "stem": "whitened", "limit": 400, "test": False}
    run = train("digits", out=tmp_path / "run", network="staged", recipe="fast", epochs=1, **fields)
    filters = run.network().stem.weight
    assert filters.shape == (8, 1, 2, 2)
    assert torch.equal(filters[:4], -filters[4:])
    drawn = network_config("staged", **{**STAGES, "stem": "whitened", "channels": 1}).build().stem.weight
    assert not torch.allclose(filters, drawn, atol=0.1)


def test_impossible_stages_are_named():
    for fields, message in (
        ({"widths": (8, 16)}, "one value a stage"),
        ({"image_size": 8, "widths": (8,) * 4, "depths": (1,) * 4, "halved": (True,) * 4}, "too small to be halved 4 times"),
        ({"ratio": 0}, "greater than 0"),
    ):
        with pytest.raises(SqueezekitError, match=message):
            network_config("staged", **fields)
    with pytest.raises(ValidationError):
        StagedConfig(kernel=4)
