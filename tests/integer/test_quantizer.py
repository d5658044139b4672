"""A plan in integers answers nearly as the network in floats; what has no integer form is named."""

import numpy as np
import pytest
import torch
from torch import nn

from squeezekit import SqueezekitError
from squeezekit.integer.plan import IntegerConvolution
from squeezekit.integer.quantizer import no_integer_form, plan_of
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.networks import network_config
from tests.fixtures.exported import EVERY_NETWORK, floats, pictures_like, reference, small


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_integers_say_what_floats_say(name):
    model, plan = small(name)
    pixels = pictures_like(model.config, 12)
    with torch.inference_mode():
        wanted = model.network(floats(model.config, pixels)).numpy()
    found = reference(plan, pixels) * 2.0**-plan.fraction
    wrong, spread = found - wanted, wanted - wanted.mean(0)
    assert np.square(wrong).mean() < 0.2**2 * np.square(spread).mean()


def test_the_first_layer_without_an_integer_form_is_named():
    assert no_integer_form(network_config("squeezenet-cifar").build()) is None
    own = nn.Sequential()
    own.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GELU(), nn.Softmax())
    assert no_integer_form(own) == "layer 'features.3' (GELU) has no integer form"
    assert no_integer_form(network_config("resnet8").build()) is None
    assert no_integer_form(network_config("resnet20").build()) == "a network 'resnet20' has no integer form"
    for name in ("mobilenetv2_050", "shufflenetv2_050", "alexnet-cifar"):
        problem = no_integer_form(network_config(name).build())
        assert problem.startswith("layer '") and problem.endswith("has no integer form")
    assert no_integer_form(nn.Sequential(nn.Conv2d(3, 4, 3))).startswith("a Sequential has no integer form")


@pytest.mark.parametrize("name", ["complex bypass", "depthwise", "mirrored", "residual", "inverted, of six"])
def test_odd_ranges_give_numbers_that_c_can_hold_or_a_sentence(name):
    model, _plan = small(name)
    convolutions, random = sum(isinstance(module, nn.Conv2d) for module in model.network.modules()), np.random.default_rng(0)
    edges, made = [0.0, 5e-324, 1e-300, 1e-20, 1e-9, 1.0, 1e5, 1e9], 0
    choices = [np.full(convolutions, edge) for edge in edges] + [random.choice(edges, convolutions) for _ in range(40)]
    for high in choices:
        ranges = ActivationRanges(low=tuple(-high), high=tuple(high))
        try:
            plan = plan_of(model.network, ranges)
        except SqueezekitError as error:
            assert "may not fit" in str(error) or "do not fit" in str(error)
            continue
        made += 1
        *steps, head = plan.steps
        for step in (*(step for step in steps if isinstance(step, IntegerConvolution)), head):
            assert 0 <= step.shift <= 61 and np.abs(step.bias).max() < 2**31 and step.gain.min() >= 0
            assert step.gain.max() < (2**16 if step is not head else 2**31)
            if step is not head and step.residual:
                assert 0 <= step.residual.gain < 2**16 and 0 <= step.residual.shift <= 16 and 0 <= step.residual.offset < 2**31
    assert made > 5
