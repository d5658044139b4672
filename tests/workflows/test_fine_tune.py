"""Training that goes on from a trained network."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from squeezekit import SqueezekitError, fine_tune, train
from squeezekit.acceleration.folding import folded
from squeezekit.cli import main
from squeezekit.networks.weights import load_weights
from squeezekit.training import start
from squeezekit.training.interruption import Interrupted
from squeezekit.training.loop import Trainer
from squeezekit.training.run_folder import Run
from tests.fixtures.tiny import TINY

FAST = {"limit": 400, "precision": "fp32", "test": False}


def test_it_begins_where_the_network_was(tiny_sqz, tmp_path):
    on = fine_tune(tiny_sqz, "digits", out=tmp_path / "on", epochs=1, **FAST)
    afresh = train("digits", out=tmp_path / "afresh", epochs=1, **{**TINY, **FAST})
    assert on.summary["validation"]["accuracy"] > afresh.summary["validation"]["accuracy"] + 0.2
    assert on.config.network.base_e == TINY["base_e"] and not on.config.network.batch_norm
    network = on.config.network.build()
    assert load_weights(network, on.start_weights) == []


def test_by_default_rates_are_small_and_nothing_is_lost(tiny_sqz, tmp_path):
    run = fine_tune(tiny_sqz, "digits", out=tmp_path / "on", epochs=1, **FAST)
    assert run.config.recipe.name == "fine-tune" and run.config.recipe.layer_decay < 1
    with pytest.raises(SqueezekitError, match="unknown"):
        fine_tune(tiny_sqz, "digits", recipe="coarse", out=tmp_path / "no", **FAST)
    # As good as before, since nothing worse is kept: here rates are far too high.
    broken = fine_tune(tiny_sqz, "digits", out=tmp_path / "broken", epochs=1, learning_rate=3.0, averaging=0, **FAST)
    assert broken.summary["best_epoch"] == 0
    assert broken.summary["validation"]["loss"] == pytest.approx(broken.summary["untrained_loss"], abs=1e-4)
    assert broken.summary["validation"]["accuracy"] > 0.5
    for name, tensor in load_file(broken.start_weights).items():
        assert torch.equal(tensor, broken.network().state_dict()[name])


def test_a_run_is_as_good_a_start_and_flags_work(tiny_run, tmp_path, capsys):
    flags = ["--data", "digits", "--out", str(tmp_path / "on"), "--epochs", "1", "--limit", "400", "--json", "--no-test"]
    assert main(["train", "--init-from", str(tiny_run.folder), *flags]) == 0
    assert '"validation"' in capsys.readouterr().out
    begun = load_file(Run(tmp_path / "on").start_weights)
    folded_network = folded(tiny_run.network()).state_dict()
    assert all(torch.equal(begun[name], value) for name, value in folded_network.items())


def test_other_classes_get_a_new_last_layer(tiny_sqz, tmp_path):
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("dark", "bright", "grey"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        level = {"dark": 30, "bright": 220, "grey": 120}[name]
        for i in range(24):
            pixels = random.normal(level, 10, (16, 16)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    run = fine_tune(tiny_sqz, str(tmp_path / "photos"), out=tmp_path / "on", epochs=2, test=False)
    assert run.config.network.classes == 3 and run.config.network.channels == 1
    # The last layer alone tells three levels of grey apart.
    assert run.summary["untrained_loss"] < 0.3
    again = fine_tune(tiny_sqz, str(tmp_path / "photos"), recipe="modern", out=tmp_path / "modern", epochs=1, test=False)
    assert again.summary["untrained_loss"] > 0.3 and again.config.network.batch_norm


def test_a_run_that_was_killed_at_once_still_begins_there(tiny_sqz, tmp_path, monkeypatch):
    def killed(*arguments, **options):
        raise Interrupted("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", killed)
        with pytest.raises(Interrupted):
            fine_tune(tiny_sqz, "digits", out=tmp_path / "on", epochs=1, **FAST)
    trained = train(out=tmp_path / "on", resume=True)
    straight = fine_tune(tiny_sqz, "digits", out=tmp_path / "straight", epochs=1, **FAST)
    for one, other in zip(trained.network().parameters(), straight.network().parameters(), strict=True):
        assert torch.equal(one, other)


def test_averaged_weights_go_on_where_they_were(tiny_sqz, tmp_path):
    def stop(row):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fine_tune(tiny_sqz, "digits", out=tmp_path / "on", epochs=2, on_epoch=stop, **FAST)
    # One epoch is done, and what it came to is there for all who look.
    assert len(Run(tmp_path / "on").history) == 1
    trained = train(out=tmp_path / "on", resume=True)
    straight = fine_tune(tiny_sqz, "digits", out=tmp_path / "straight", epochs=2, **FAST)
    assert trained.history[-1]["validation_loss"] == straight.history[-1]["validation_loss"]
    for one, other in zip(trained.network().parameters(), straight.network().parameters(), strict=True):
        assert torch.equal(one, other)


def test_minutes_of_a_few_images_are_not_filled_to_the_end(tiny_sqz, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "MOST_EPOCHS", 2)
    assert fine_tune(tiny_sqz, "digits", out=tmp_path / "on", minutes=5, **FAST).summary["epochs"] == 2


def test_another_network_is_refused(tiny_sqz, tmp_path):
    with pytest.raises(SqueezekitError, match="leave out --network"):
        fine_tune(tiny_sqz, "digits", network="squeezenet-late", out=tmp_path / "on")
    assert not (tmp_path / "on").exists()
    with pytest.raises(SqueezekitError, match="does not exist"):
        fine_tune("cifar11-tiny", "digits", out=tmp_path / "on")
    for changes in ({"base_e": 24}, {"bypass": "complex"}):
        with pytest.raises(SqueezekitError, match="choose the --network"):
            fine_tune(tiny_sqz, "digits", out=tmp_path / "on", **{**FAST, **changes})
    (tmp_path / "file.toml").write_text("[network]\nbase_e = 24\n", encoding="utf-8")
    with pytest.raises(SqueezekitError, match="leave the table out"):
        fine_tune(tiny_sqz, "digits", out=tmp_path / "on", config=tmp_path / "file.toml", **FAST)
    assert not (tmp_path / "on").exists()


def test_images_that_it_has_learnt_may_not_validate(tiny_sqz, tiny_run, tmp_path):
    for model in (tiny_sqz, tiny_run.folder):
        with pytest.raises(SqueezekitError, match="may have learnt images that validate"):
            fine_tune(model, "digits", seed=1, out=tmp_path / "on", **FAST)


def test_a_run_taken_up_must_have_begun_there(tiny_sqz, tiny_run, tmp_path):
    run = fine_tune(tiny_sqz, "digits", out=tmp_path / "on", epochs=1, **FAST)
    assert Run(run.folder).data["start"] == str(tiny_sqz)
    assert fine_tune(tiny_sqz, out=run.folder, resume=True).summary == run.summary
    with pytest.raises(SqueezekitError, match="was begun from"):
        fine_tune(tiny_run.folder, out=run.folder, resume=True)
    with pytest.raises(SqueezekitError, match="random weights"):
        fine_tune(tiny_sqz, out=tiny_run.folder, resume=True)


def test_train_takes_a_model_or_a_file_of_weights_and_reads_it_once(tiny_sqz, tiny_run, tmp_path, monkeypatch):
    from squeezekit.training import start as module

    reads = []
    read = module.read_weights
    monkeypatch.setattr(module, "read_weights", lambda path: reads.append(path) or read(path))
    weights = tmp_path / "weights.safetensors"
    shutil.copy(tiny_run.folder / "best.safetensors", weights)
    by_file = train("digits", out=tmp_path / "file", init_from=weights, epochs=1, **{**TINY, **FAST})
    assert reads == [weights] and by_file.data["start"] == str(weights)
    by_model = train("digits", out=tmp_path / "model", init_from=tiny_sqz, epochs=1, **FAST)
    assert by_model.data["start"] == str(tiny_sqz)
    weights.unlink()
    # The run folder has its own copy.
    (by_file.folder / "last.pt").unlink()
    (by_file.folder / "summary.json").unlink()
    again = train(out=by_file.folder, resume=True)
    for one, other in zip(again.network().parameters(), by_file.network().parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_old_name_says_the_new_one(tmp_path):
    with pytest.raises(SqueezekitError, match="it is train's init_from now"):
        train("digits", out=tmp_path / "x", weights="a.pth")
