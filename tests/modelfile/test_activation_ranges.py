"""Activation ranges are those that integer inference needs."""

import pytest
import torch

from squeezekit import SqueezekitError
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.networks import network_config
from squeezekit.system.errors import RunFailed


def test_ranges_are_those_of_the_convolutions_in_the_order_of_the_file():
    torch.manual_seed(0)
    config = network_config("squeezenet-cifar", base_e=8, incr_e=8, stem_width=8, depth=4, bypass="complex", dropout=0.0)
    network = config.build().eval()
    images = [torch.rand(8, 3, 32, 32), torch.rand(5, 3, 32, 32) * 2]
    found = ActivationRanges.of(network, [(batch, torch.zeros(len(batch))) for batch in images])
    names = [name for name, part in network.state_dict().items() if part.ndim == 4]
    assert len(found.low) == len(names) and not network.features[0]._forward_hooks
    with torch.inference_mode():
        stem = torch.cat([network.features[0](batch) for batch in images])
        logits = torch.cat([network(batch) for batch in images])
    for name, outputs in {"features.0.weight": stem, "classifier.1.weight": logits}.items():
        position = names.index(name)
        assert found.low[position] == pytest.approx(float(outputs.min()), rel=6e-3)
        assert found.high[position] == pytest.approx(float(outputs.max()), rel=6e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_outputs_that_no_integer_stands_for_are_a_failed_run(value):
    config = network_config("squeezenet-cifar", base_e=4, incr_e=4, stem_width=4, depth=1, pool_before=(1,))
    network = config.build().eval()
    with torch.no_grad():
        network.features[0].bias.fill_(value)
    with pytest.raises(RunFailed, match="no numbers below 1e9"):
        ActivationRanges.of(network, [(torch.rand(2, 3, 32, 32), torch.zeros(2))])


@pytest.mark.parametrize("edges", [(-1e300, 1e300), (2.0, 1.0), (0.0, float("nan")), (0.0, "x")])
def test_ranges_that_no_network_has_are_refused(edges):
    weights = {"a": torch.zeros(1, 1, 1, 1)}
    with pytest.raises(SqueezekitError, match=r"damaged: its activation ranges.*get the file again"):
        ActivationRanges.read_for({"low": [edges[0]], "high": [edges[1]]}, weights)
