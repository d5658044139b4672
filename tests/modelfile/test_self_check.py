"""The self-check notices another network."""

import torch

from squeezekit.modelfile.self_check import TOLERANCE, SelfCheck, check_image
from squeezekit.networks import network_config


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
