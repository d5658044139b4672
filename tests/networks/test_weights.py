"""Starting from weights that exist."""

import pytest
import torch
from safetensors.torch import save_file

from squeezekit import SqueezekitError, train
from squeezekit.networks import network_config
from squeezekit.networks.weights import load_weights
from tests.fixtures.tiny import TINY


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_same_weights_same_logits(tmp_path, suffix):
    torch.manual_seed(0)
    old, new = (network_config("squeezenet1_1").build().eval() for _ in range(2))
    path = tmp_path / f"v1.1.{suffix}"
    if suffix == "pth":
        torch.save(old.state_dict(), path)
    else:
        save_file(old.state_dict(), path)
    assert load_weights(new, path) == []
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(old(x), new(x))


def test_another_class_count_keeps_the_rest(tmp_path):
    old, new = network_config("squeezenet1_1").build(), network_config("squeezenet1_1", classes=7).build()
    torch.save(old.state_dict(), tmp_path / "w.pth")
    assert load_weights(new, tmp_path / "w.pth") == ["classifier.1.weight", "classifier.1.bias"]
    assert torch.equal(new.features[0].weight, old.features[0].weight)
    with pytest.raises(SqueezekitError, match="--network"):
        load_weights(network_config("squeezenet1_0").build(), tmp_path / "w.pth")


def test_nothing_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"features.0.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(SqueezekitError, match="cannot be read"):
        load_weights(network_config("squeezenet-cifar").build(), tmp_path / "bomb.pth")
    assert not (tmp_path / "executed").exists()


def test_training_goes_on_from_a_run(tiny_run, tmp_path):
    weights = tiny_run.folder / "best.safetensors"
    run = train("digits", out=tmp_path / "x", init_from=weights, epochs=1, learning_rate=1e-4, **TINY)
    # The same validation images, in the precision of training.
    expected = pytest.approx(tiny_run.summary["validation"]["loss"], rel=0.02)
    assert run.checkpoint()["progress"]["untrained_loss"] == expected


def test_batch_normalisation_that_differs_is_named(tmp_path):
    torch.save(network_config("squeezenet-cifar").build().state_dict(), tmp_path / "w.pth")
    with pytest.raises(SqueezekitError, match="--no-batch-norm"):
        load_weights(network_config("squeezenet-cifar", batch_norm=True).build(), tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04cut", b"\x80\x02}q\x00(X"])
def test_damaged_files_are_one_sentence(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(SqueezekitError, match="cannot be read"):
        load_weights(network_config("squeezenet-cifar").build(), path)
