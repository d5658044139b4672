"""The whitened stem."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from squeezekit.errors import SqueezekitError
from squeezekit.images.batches import Batches
from squeezekit.images.image_set import ImageSet
from squeezekit.networks import network_config
from squeezekit.training.whitening import whiten_stem


def smooth_images(count=200):
    """Colourful noise whose neighbouring pixels are alike."""
    randomness = np.random.default_rng(0)
    coarse = torch.from_numpy(randomness.random((count, 3, 8, 8)))
    pixels = F.interpolate(coarse, size=32, mode="bilinear") * 255
    images = pixels.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    return Batches(ImageSet(images, np.zeros(count, np.int64), ("a", "b"), "", True), batch_size=50)


def test_the_filters_answers_are_uncorrelated_and_of_variance_one_at_most():
    batches = smooth_images()
    network = network_config("report", batch_norm=True, stem_width=60, base_e=16, incr_e=16).build()
    drawn = network.features[0].weight[54:].clone()
    whiten_stem(network, batches)
    stem = network.features[0]
    patches = F.unfold(batches.sample(200), 3, stride=3).transpose(1, 2).flatten(0, 1)
    covariance = torch.cov((patches @ stem.weight[:27].flatten(1).T).T)
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 0.01
    assert 0.9 < covariance.diagonal().max() < 1.0
    assert torch.equal(stem.weight[27:54], -stem.weight[:27])
    assert torch.equal(stem.weight[54:], drawn)
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen == ["features.0.weight", "features.norm.weight", "features.norm.bias"]


def test_without_batch_normalisation_it_is_refused():
    with pytest.raises(SqueezekitError, match="--batch-norm"):
        whiten_stem(network_config("report").build(), smooth_images(60))
