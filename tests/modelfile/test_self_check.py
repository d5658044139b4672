"""The self-check notices another network."""

import pytest
import torch

from squeezekit.modelfile.check_image import TOLERANCE
from squeezekit.modelfile.self_check import SelfCheck, check_image
from squeezekit.networks import network_config
from squeezekit.system.errors import RunFailed


def test_a_changed_weight_fails_the_self_check():
    torch.manual_seed(0)
    config = network_config("squeezenet-cifar", base_e=8, incr_e=8, stem_width=8, depth=4)
    network = config.build()
    check = SelfCheck.of(network, config)
    assert check.difference(network, config) < TOLERANCE
    with torch.no_grad():
        network.features[0].weight[0] += 1
    assert check.difference(network, config) > TOLERANCE


def test_check_images_are_what_the_format_says():
    image = check_image(1, 32, 3)
    x = (1664525 * 1 + 1013904223) % 2**32
    assert image[0, 0, 0] == image[3, 3, 0] == x >> 24
    assert image[0, 0, 1] == (1664525 * x + 1013904223) % 2**32 >> 24
    assert check_image(1, 10, 1).shape == (10, 10, 1)
    for seed in (0, 3, 2**32 - 1):
        state, colors = seed, []
        for _ in range(8 * 8 * 3):
            state = (1664525 * state + 1013904223) % 2**32
            colors.append(state >> 24)
        assert check_image(seed, 32, 3)[::4, ::4].ravel().tolist() == colors


def test_a_network_that_answers_nothing_neither_gets_nor_passes_a_check():
    config = network_config("squeezenet-cifar", base_e=4, incr_e=4, stem_width=4, depth=1, pool_before=(1,))
    network = config.build().eval()
    check = SelfCheck.of(network, config)
    nothing = check.model_copy(update={"logits": tuple((0.0,) * 10 for _ in check.seeds)})
    with torch.no_grad():
        network.classifier[1].bias.fill_(float("nan"))
    assert nothing.difference(network, config) == float("inf")
    with pytest.raises(RunFailed, match="logits are not finite"):
        SelfCheck.of(network, config)


def test_images_are_checked_in_batches_that_fit_the_memory():
    config = network_config("squeezenet-cifar", base_e=2, stem_width=1, depth=1, pool_before=(1,), stem_stride=4, image_size=512)
    network, sizes = config.build().eval(), []
    network.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    SelfCheck.of(network, config)
    assert sizes == [1, 1, 1]
