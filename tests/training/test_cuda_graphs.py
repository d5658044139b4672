"""Steps recorded on a GPU are the steps that would have been computed."""

import copy

import numpy as np
import pytest
import torch

from squeezekit import train
from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import Recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
GPU = torch.device("cuda")
SMALL = {"base_e": 16, "incr_e": 16, "stem_width": 16, "channels": 1, "batch_norm": True}


def losses_and_weights(recipe, recorded, epochs=5):
    digits = load_digits(image_size=32, channels=1).training
    torch.manual_seed(0)
    network = network_config("squeezenet-cifar", dropout=0.3, bypass="simple", **SMALL).build()
    # Batches of 32, and one of 16 at the end.
    batches = Batches(digits, np.arange(176), batch_size=32, augmentation="shift", device=GPU)
    one = Trainer(network, recipe.model_copy(update={"epochs": epochs}), batches, batches, seed=0, device=GPU)
    if not recorded:
        one._compute = one._computed
    one.fit()
    found = [row["training_loss"] for row in one.progress.history]
    # The last batch comes once an epoch, and is recorded too.
    assert not recorded or set(one._compute._graphs) == {32, 16}
    return found, copy.deepcopy(one.network).double().cpu().state_dict()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "muon"])
def test_recorded_steps_learn_what_computed_ones_do(optimizer):
    rate = {"adam": 1e-3, "adamw": 1e-3}.get(optimizer, 0.02)
    recipe = Recipe(optimizer=optimizer, learning_rate=rate, schedule="cosine", weight_decay=1e-4)
    recipe = recipe.model_copy(update={"precision": "fp32", "label_smoothing": 0.1})
    torch.use_deterministic_algorithms(True)
    try:
        (ours, weights), (plain, expected) = (losses_and_weights(recipe, recorded) for recorded in (True, False))
    finally:
        torch.use_deterministic_algorithms(False)
    assert ours == pytest.approx(plain, rel=1e-3)
    for name, tensor in expected.items():
        assert torch.allclose(weights[name], tensor, atol=5e-3), name


def test_a_run_goes_from_cpu_to_gpu_and_back(tmp_path):
    fields = {
        "network": "squeezenet-cifar",
        "recipe": "classic",
        "epochs": 1,
        "limit": 300,
        "base_e": 16,
        "incr_e": 16,
        "test": False,
    }
    train("digits", out=tmp_path / "run", device="cpu", **fields)
    for device in ("cuda", "cpu"):
        settings = (tmp_path / "run" / "config.toml").read_text()
        epochs = 1 if device == "cuda" else 2
        settings = settings.replace(f"epochs = {epochs}", f"epochs = {epochs + 1}")
        (tmp_path / "run" / "config.toml").write_text(settings)
        (tmp_path / "run" / "summary.json").unlink()
        run = train(out=tmp_path / "run", resume=True, device=device)
        assert run.summary["epochs"] == epochs + 1


def test_compression_trains_on_a_gpu(tiny_run, tmp_path):
    from squeezekit.compression.compress import compress

    options = {"rate_weight": 0.05, "epochs": 2}
    here, there = (compress(tiny_run.folder, tmp_path / f"{name}.sqz", device=name, **options) for name in ("cpu", "cuda"))
    assert there.bytes == pytest.approx(here.bytes, rel=0.1)
    assert there.validation.after > here.validation.after - 0.1
