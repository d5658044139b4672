"""Cross-layer equalization."""

import copy

import pytest
import torch

from squeezekit.quantization.equalization import equalize
from squeezekit.quantization.fisher import fisher_information
from squeezekit.quantization.weight_layers import weight_layers
from tests.fixtures.random_networks import batches, network


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_norm": True},
        {},
        {"batch_norm": True, "bypass": "complex"},
        {"bypass": "simple"},
    ],
)
def test_equalization_changes_no_answer_and_makes_inputs_alike(fields):
    net, seen = network(**fields), batches()
    before = copy.deepcopy(net)
    layers = weight_layers(net)
    equalize(net, dict(zip(layers, fisher_information(net, layers, seen), strict=True)))
    images = seen[0][0]
    assert torch.allclose(net(images), before(images), atol=1e-4)
    squeezed = [m.expand1x1 for m in net.features if hasattr(m, "expand1x1")]
    for layer in squeezed:
        assert not torch.equal(layer.weight, before.get_submodule(_name(net, layer)).weight)
    deviations = fisher_information(net, squeezed, seen)[0].input_covariance.diagonal().sqrt()
    # Other positions of the feature maps are taken each time.
    assert deviations.median() == pytest.approx(1, abs=0.1)


def _name(net, layer):
    return next(name for name, module in net.named_modules() if module is layer)
