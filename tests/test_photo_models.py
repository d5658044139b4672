"""The script of the networks for photos: what they start from, and that they learn to see what their teacher sees."""

import numpy as np
import photo_models
import pytest
import torch
from photo_models import Shape
from safetensors.torch import load_file

from squeezekit.inference.model import Model
from squeezekit.networks.registry import network_config


@pytest.fixture(scope="module")
def teacher():
    """A narrow SqueezeNet v1.0 of random weights."""
    torch.manual_seed(0)
    network = network_config("squeezenet1_0", image_size=64, base_e=16, incr_e=16, stem_width=16, classes=10).build().eval()
    return Model("teacher", network, network.config, tuple("abcdefghij"), None, None, lambda images: np.arange(0))


@pytest.fixture(scope="module")
def photos():
    """Stripes of any direction and width, uint8 [40, 92, 92, 3]."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:92, :92]
    waves = [np.sin(a * rows + b * columns + c) for a, b, c in random.uniform(-1, 1, (40, 3))]
    return np.stack([(127 + 100 * wave).astype(np.uint8) for wave in waves])[..., None].repeat(3, 3)


def test_a_network_of_the_same_shape_starts_as_its_teacher(teacher):
    network = photo_models.started(teacher.config, teacher.network).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(network.features(images), teacher.network.features(images), atol=1e-5)


def test_a_narrower_one_has_the_filters_that_matter_most(teacher):
    config = Shape(32, 8, 8).config()
    network = photo_models.started(config, teacher.network)
    own, others = (each.features[3] for each in (network, teacher.network))
    filters = {tuple(row.flatten().tolist()) for row in others.squeeze.bias}
    assert all(tuple(row.flatten().tolist()) in filters for row in own.squeeze.bias)
    assert own.expand3x3.weight.shape[1] == own.squeeze.out_channels < others.squeeze.out_channels


@pytest.mark.slow
def test_a_network_learns_to_see_what_its_teacher_sees_and_goes_on_where_it_was(teacher, photos, tmp_path, monkeypatch):
    shape = Shape(80, 8, 8)
    short = photo_models.distil(shape, photos, teacher, tmp_path / "short.safetensors", 64)
    long = photo_models.distil(shape, photos, teacher, tmp_path / "long.safetensors", 40 * 64)
    assert long["loss"] < 0.9 * short["loss"]
    monkeypatch.setattr(photo_models, "CHECKPOINT_SECONDS", 0)
    steps = []

    class Stopped(Exception):
        pass

    def stopping(*arguments, **options):
        steps.append(1)
        if len(steps) == 20:
            raise Stopped
        return learns(*arguments, **options)

    learns = photo_models.Distillation.forward
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(photo_models.Distillation, "forward", stopping)
        photo_models.distil(shape, photos, teacher, tmp_path / "stopped.safetensors", 40 * 64)
    photo_models.distil(shape, photos, teacher, tmp_path / "stopped.safetensors", 40 * 64)
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("long", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_kept_networks_are_as_small_as_they_are_meant_to_be():
    from squeezekit.networks.layer_table import layer_table

    most = {"photo-s": 25e6, "photo-m": 60e6, "photo-l": 150e6}
    for name, shape in photo_models.SHAPES.items():
        assert layer_table(shape.config().model_copy(update={"classes": 10, "head_relu": False})).macs < most[name]
