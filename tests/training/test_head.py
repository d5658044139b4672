"""The last layer alone: features, and what is fitted to them."""

import numpy as np
import pytest
import torch

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.networks import network_config
from squeezekit.training.head import features_of, fit_head, last_layer
from squeezekit.training.measurement import logits_of, measure


def striped(count=90, side=32, seed=0):
    """Three classes of images: stripes across, stripes down, none; noise in all."""
    randomness = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    wave = (np.sin(np.arange(side)) * 60).astype(np.int64)
    pixels = randomness.integers(90, 150, (count, side, side, 3))
    for image, label in zip(pixels, labels, strict=True):
        image += [wave[:, None, None], wave[None, :, None], 0 * wave[:, None, None]][label]
    return ImageSet(pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64), ("across", "down", "none"), "", True)


def batches(images, **options):
    return Batches(images, batch_size=32, mean=(0.5,), std=(0.25,), **options)


def untrained(name, **fields):
    torch.manual_seed(0)
    return network_config(name, classes=3, **fields).build()


@pytest.mark.parametrize("name", ["fast", "nano", "resnet8", "mobilenetv2_050", "shufflenetv2_050", "xvel-tiniest"])
def test_features_are_what_the_logits_are_a_linear_function_of(name):
    network = untrained(name)
    features, labels = features_of(network, batches(striped(12)))
    logits, _ = logits_of(network, batches(striped(12)))
    layer = last_layer(network)
    assert labels.tolist() == list(range(3)) * 4
    assert torch.allclose(features @ layer.weight.detach().flatten(1).T + layer.bias.detach(), logits, atol=1e-4)


def test_a_fitted_last_layer_knows_images_that_it_has_not_seen_and_nothing_else_has_changed():
    network = untrained("fast").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert measure(network, batches(striped(60, seed=1))).accuracy < 0.6
    network.train()
    assert fit_head(network, batches(striped()))
    assert network.training
    assert measure(network, batches(striped(60, seed=1))).accuracy > 0.95
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_labels_that_mean_nothing_are_hardly_learnt():
    images = striped()
    noise = ImageSet(images.images, np.random.default_rng(1).permutation(images.labels), images.classes, "", True)
    network = untrained("fast")
    fit_head(network, batches(noise))
    # Folds say that nothing is known: logits are nearly even, and nobody is sure of a wrong class.
    assert measure(network, batches(striped(60, seed=1))).loss < 1.3


def test_a_last_layer_that_sees_feature_maps_is_left_as_it_is():
    network = untrained("squeezenet1_0", image_size=32)
    before = network.classifier[1].weight.clone()
    assert features_of(network, batches(striped(6))) is None
    assert not fit_head(network, batches(striped(6)))
    assert torch.equal(network.classifier[1].weight, before)


def test_classes_without_images_are_possible_and_weights_count():
    network = untrained("fast")
    images = striped()
    two = Batches(images, np.flatnonzero(images.labels < 2), batch_size=32, mean=(0.5,), std=(0.25,))
    assert fit_head(network, two, weights=torch.tensor([1.0, 2.0, 1.0]))
    logits, labels = logits_of(network, two)
    assert (logits.argmax(1) == labels).double().mean() > 0.95
