"""The script of the networks for photos: that a network learns to see small what its teacher sees larger."""

import numpy as np
import photo_models
import pytest
import torch
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
    """Stripes of any direction and width, uint8 [40, 183, 183, 3]."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:183, :183] / 2
    waves = [np.sin(a * rows + b * columns + c) for a, b, c in random.uniform(-1, 1, (40, 3))]
    return np.stack([(127 + 100 * wave).astype(np.uint8) for wave in waves])[..., None].repeat(3, 3)


@pytest.fixture
def small(monkeypatch):
    """Small crops."""
    monkeypatch.setattr(photo_models, "SIDES", (48, 64))
    monkeypatch.setattr(photo_models, "TEACHER_SIDE", 80)
    monkeypatch.setattr(photo_models, "BATCH", 16)


def test_features_are_those_of_the_modules_asked_for(teacher):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        early, late = photo_models.seen(teacher.network, images, (6, 8))
        maps = teacher.network.features(images)
    assert torch.equal(late, torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)) and early.shape[1] < late.shape[1]


@pytest.mark.parametrize("name", photo_models.DEPTHS)
def test_a_network_has_the_first_modules_of_the_whole(name):
    part = photo_models.config_of(photo_models.DEPTHS[name]).build().state_dict()
    whole = network_config("squeezenet1_0").build().state_dict()
    assert all(tensor.shape == whole[key].shape for key, tensor in part.items() if key.startswith("features."))


@pytest.mark.slow
def test_it_learns_to_see_what_its_teacher_sees_and_goes_on_where_it_was(teacher, photos, small, tmp_path, monkeypatch):
    short = photo_models.distil(photos, teacher, tmp_path / "short.safetensors", 16)
    long = photo_models.distil(photos, teacher, tmp_path / "long.safetensors", 40 * 16)
    assert long["loss"] < 0.9 * short["loss"]
    monkeypatch.setattr(photo_models, "CHECKPOINT_SECONDS", 0)
    steps = []

    class Stopped(Exception):
        pass

    def stopping(*arguments, **options):
        steps.append(1)
        if len(steps) == 20:
            raise Stopped
        return batch(*arguments, **options)

    batch = photo_models.Crops.__call__
    monkeypatch.setattr(photo_models.Crops, "__call__", stopping)
    with pytest.raises(Stopped):
        photo_models.distil(photos, teacher, tmp_path / "stopped.safetensors", 40 * 16)
    assert not (tmp_path / "stopped.safetensors").exists()
    assert photo_models.distil(photos, teacher, tmp_path / "stopped.safetensors", 40 * 16)["loss"] == long["loss"]
    stopped, whole = (load_file(tmp_path / f"{name}.safetensors") for name in ("stopped", "long"))
    assert all(torch.equal(tensor, whole[key]) for key, tensor in stopped.items())
