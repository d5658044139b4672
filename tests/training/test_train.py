"""Training from images to a run folder, on the digits."""

import csv
import errno
import json
import math
import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from squeezekit import RunFailed, SqueezekitError, evaluate, export, train
from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.data.sources import load_images
from squeezekit.data.splits import split_images
from squeezekit.networks import network_config
from squeezekit.reporting.report import write_report
from squeezekit.system.atomic_io import NotWritten
from squeezekit.system.folder_claim import InUse
from squeezekit.training.callbacks import Callback
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES
from squeezekit.training.run_folder import METRICS, Run
from tests.fixtures.forked import Forked, command
from tests.fixtures.tiny import SMALL, TINY, flags

# More modules than the network for CIFAR-10 has, of few filters.
DEEP = {"image_size": 16, "channels": 1, "base_e": 32, "incr_e": 8, "stem_width": 16, "depth": 10, "pool_before": (1, 2, 4)}


def test_a_run_folder_holds_everything(tiny_run):
    folder, summary = tiny_run.folder, tiny_run.summary
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert tuple(rows[0]) == METRICS
    assert [int(row["epoch"]) for row in rows] == list(range(1, 11))
    assert summary["epochs"] == 10
    assert summary["untrained_loss"] == pytest.approx(math.log(10), abs=0.05)
    assert summary["test"]["accuracy"] > 0.5
    assert set(summary) >= {"run", "network", "parameters", "epochs", "seconds", "images_per_s", "validation", "test"}
    assert summary["parameters"] == sum(p.numel() for p in tiny_run.network().parameters())


def test_without_images_that_validate_the_last_weights_stay(tmp_path, capfd):
    last = {}

    def on_epoch(row):
        last.update(row)

    run = train("digits", out=tmp_path / "run", validation_share=0, on_epoch=on_epoch, **{**TINY, "epochs": 2})
    assert math.isnan(last["validation_loss"])
    assert (len(run.split.training), len(run.split.validation)) == (400, 0)
    assert run.summary["best_epoch"] == 2
    assert "validation" not in run.summary
    assert 0 <= run.summary["test"]["accuracy"] <= 1
    assert evaluate(run).accuracy == run.summary["test"]["accuracy"]
    stored = run.checkpoint()["network"]
    assert all(torch.equal(stored[name], tensor) for name, tensor in run.network().state_dict().items())
    printed = capfd.readouterr().err
    assert "0 for validation" in printed
    assert "nan" not in printed
    run.plot()
    with pytest.raises(SqueezekitError, match="all its images trained"):
        evaluate(run, split="validation")
    assert export(run, tmp_path / "c", format="c").validation == {}
    write_report([run.folder], tmp_path / "report.html")
    assert ">nan<" not in (tmp_path / "report.html").read_text().lower()


def test_what_validation_steers_needs_images_that_validate(tmp_path):
    with pytest.raises(SqueezekitError, match="give --patience 0 and --schedule cosine"):
        train("digits", out=tmp_path / "run", recipe="classic", validation_share=0)
    assert not list(tmp_path.iterdir())


def test_tensorboard_shows_both_curves(tiny_run):
    events = EventAccumulator(str(tiny_run.folder / "tensorboard")).Reload()
    rows = list(csv.DictReader((tiny_run.folder / "metrics.csv").open()))
    for tag, column in {"loss/validation": "validation_loss", "learning rate": "learning_rate"}.items():
        points = events.Scalars(tag)
        assert [p.step for p in points] == list(range(1, 11))
        assert [p.value for p in points] == pytest.approx([float(row[column]) for row in rows], rel=1e-5)
    assert len(events.Scalars("loss/untrained")) == 1
    assert "training images" in events.Tags()["images"]
    assert any(tag.startswith("gradient norm/") for tag in events.Tags()["scalars"])


@pytest.mark.slow
def test_equal_seeds_give_equal_files_and_other_seeds_do_not(tmp_path):
    runs = [
        train("digits", out=tmp_path / n, epochs=1, seed=s, deterministic=True, **TINY) for n, s in (("a", 1), ("b", 1), ("c", 2))
    ]
    a, b, c = ((run.folder / "best.safetensors").read_bytes() for run in runs)
    assert a == b != c


@pytest.mark.slow
def test_config_file_reruns_the_run(tiny_run, tmp_path):
    again = train(config=tiny_run.folder / "config.toml", out=tmp_path / "again")
    assert again.config == tiny_run.config
    assert (again.folder / "best.safetensors").read_bytes() == (tiny_run.folder / "best.safetensors").read_bytes()


def test_an_existing_folder_is_refused_and_a_finished_one_resumes_to_its_result(tiny_run):
    with pytest.raises(SqueezekitError, match="--resume"):
        train("digits", out=tiny_run.folder)
    before = (tiny_run.folder / "last.pt").read_bytes()
    assert train(out=tiny_run.folder, resume=True).summary == tiny_run.summary
    assert (tiny_run.folder / "last.pt").read_bytes() == before
    with pytest.raises(SqueezekitError, match="squeeze_ratio"):
        train(out=tiny_run.folder, resume=True, squeeze_ratio=0.25)
    with pytest.raises(SqueezekitError, match="learning_rate"):
        train(out=tiny_run.folder, resume=True, learning_rate=-1)


def test_a_diverging_run_fails_with_step_and_rate(tmp_path):
    with pytest.raises(RunFailed, match=r"step \d+, learning rate 1e\+30"):
        train(
            "digits",
            out=tmp_path / "x",
            recipe="classic",
            learning_rate=1e30,
            schedule="constant",
            optimizer="sgd",
            epochs=3,
            **TINY,
        )


@pytest.mark.slow
def test_a_guessing_network_is_named(tmp_path, capfd):
    train("digits", out=tmp_path / "x", recipe="classic", learning_rate=1e-12, epochs=5, **TINY)
    assert capfd.readouterr().err.count("not learning") == 1


def test_test_images_can_be_left_alone(tmp_path):
    assert "test" not in train("digits", out=tmp_path / "x", epochs=1, test=False, **TINY).summary


def test_one_hot_targets_give_the_same_loss():
    logits, labels = torch.randn(8, 10, dtype=torch.float64), torch.arange(8)
    one_hot = torch.nn.functional.one_hot(labels, 10).double()
    categorical = -(one_hot * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(categorical, torch.nn.functional.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"squeeze_ration": 0.1}, "did you mean 'squeeze_ratio'"),
        ({"recipe": "best"}, "choose one of classic, modern"),
        ({"network": "vgg"}, "choose one of squeezenet-cifar"),
        ({"classes": 7}, "10 classes, not 7"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"learning_rate": math.nan}, "learning_rate: must be a number"),
        ({"mean": [math.nan], "std": [1]}, "mean: must be a number"),
        ({"std": [math.inf]}, "std: must be a number"),
        ({"weight_decay": math.inf}, "weight_decay: must be a number"),
        ({"epochs": 0}, "^epochs: must be greater than or equal to 1"),
        ({"validation_share": math.nan}, "validation_share: must be a number"),
        ({"cutout": 0.5, "augmentation": "none"}, "^cutout needs an augmentation"),
        ({"teacher": os.fsdecode(b"caf\xe9")}, "teacher: the name .* is not UTF-8"),
        ({"device": "abacus"}, "choose cpu, cuda or auto"),
        ({"device": "cuda:99"}, "--device cpu"),
    ],
)
def test_wrong_settings_are_named_and_leave_nothing(tmp_path, fields, message):
    with pytest.raises(SqueezekitError, match=message):
        train("digits", out=tmp_path / "x", **fields)
    assert not (tmp_path / "x").exists()


def test_damaged_files_are_named(tiny_run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_run.folder, copy)
    (copy / "best.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(SqueezekitError, match=r"best\.safetensors"):
        Run(copy).network()
    (copy / "last.pt").write_bytes((copy / "last.pt").read_bytes()[:1000])
    with pytest.raises(SqueezekitError, match=r"last\.pt"):
        Run(copy).checkpoint()
    with pytest.raises(SqueezekitError, match="not a run folder"):
        Run(tmp_path)


def test_summary_is_plain_json(tiny_run):
    assert json.loads((tiny_run.folder / "summary.json").read_text()) == tiny_run.summary


def loss_after(steps, trainer):
    """The mean training loss of the last 20 of so many steps."""
    losses = []

    class Losses(Callback):
        def on_step(self, trainer, rate):
            losses.append(trainer.loss)
            trainer.should_stop = len(losses) == steps

    trainer.fit([Losses()])
    assert not trainer.finished and len(losses) == steps
    return np.mean(losses[-20:])


def untaught(network, training, validation, **fields):
    recipe = RECIPES["classic"].model_copy(update=fields)
    return Trainer(network, recipe, training, validation, seed=3, device=torch.device("cpu"))


@pytest.mark.slow
def test_deep_networks_learn_without_batch_normalisation():
    """Glorot-uniform filters, all else the same, leave the loss where it was."""
    digits = load_digits(image_size=16).training
    images = Batches(digits, batch_size=32, seed=3)
    afterwards = {}
    for filters in ("ours", "glorot"):
        torch.manual_seed(0)
        network = network_config("squeezenet-cifar", **DEEP).build()
        for module in network.modules() if filters == "glorot" else ():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.xavier_uniform_(module.weight)
        afterwards[filters] = loss_after(100, untaught(network, images, images, precision="fp32"))
    assert afterwards["ours"] < 1.9 and afterwards["glorot"] == pytest.approx(math.log(10), abs=0.01), afterwards


@pytest.mark.long
def test_real_images_are_learnt_without_batch_normalisation(real_images):
    """Training loss below 1.9 after 300 steps of 64. Glorot-uniform filters stay at 2.3027."""
    images = load_images(str(real_images)).training
    split = split_images(images, seed=0)
    training, validation = (
        Batches(images, split.training, batch_size=64, seed=3),
        Batches(images, split.validation[:1], batch_size=64),
    )
    torch.manual_seed(0)
    assert loss_after(310, untaught(network_config("squeezenet-cifar").build(), training, validation)) < 1.9


def test_weights_that_are_missing_leave_nothing(tmp_path):
    with pytest.raises(SqueezekitError, match=r"nowhere\.pth"):
        train("digits", out=tmp_path / "x", init_from=tmp_path / "nowhere.pth", **TINY)
    assert not (tmp_path / "x").exists()


def test_a_config_of_another_network_or_recipe_is_refused(tiny_run, tmp_path):
    for given in ({"network": "squeezenet-late"}, {"recipe": "classic"}):
        with pytest.raises(SqueezekitError, match="leave out one of the two names"):
            train(config=tiny_run.folder / "config.toml", out=tmp_path / "x", **given)
    (tmp_path / "a.toml").write_text('network = "squeezenet-late"')
    with pytest.raises(SqueezekitError, match="must be a table"):
        train("digits", config=tmp_path / "a.toml", out=tmp_path / "x")
    (tmp_path / "b.toml").write_text('[network]\nname = ["squeezenet-late"]')
    with pytest.raises(SqueezekitError, match="choose one of"):
        train("digits", config=tmp_path / "b.toml", out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_place_that_cannot_hold_a_run_is_found_first(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("squeezekit.training.run_images.load_images", lambda *_, **__: pytest.fail("images were loaded"))
    with pytest.raises(SqueezekitError, match="choose another --out"):
        train("digits", out=tmp_path / "file" / "run")


def test_resuming_needs_a_folder_and_heeds_file_device_and_presets(tiny_run, tmp_path):
    with pytest.raises(SqueezekitError, match="--resume needs --out"):
        train("digits", resume=True)
    with pytest.raises(SqueezekitError, match="nowhere: is no run to go on with; choose one that is, or give --data to start it"):
        train(out=tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()
    for given, message in (
        ({"config": tmp_path / "nowhere.toml"}, r"nowhere\.toml"),
        ({"device": "abacus"}, "choose cpu"),
        ({"network": "squeezenet-late"}, "begun with --network squeezenet-cifar, not squeezenet-late"),
    ):
        with pytest.raises(SqueezekitError, match=message):
            train(out=tiny_run.folder, resume=True, **given)
    again = train("digits", out=tiny_run.folder, resume=True, config=tiny_run.folder / "config.toml", device="cpu")
    assert again.summary == tiny_run.summary


def test_a_run_finds_its_images_from_any_folder_and_after_they_moved(tmp_path, monkeypatch):
    write_classes(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    before = train("here", out="run", epochs=1, **TINY).summary
    monkeypatch.chdir("/")
    assert evaluate(tmp_path / "run").accuracy == before["test"]["accuracy"]
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "run" / "summary.json").unlink()
    assert train(tmp_path / "there", out=tmp_path / "run", resume=True).summary["test"] == before["test"]


def test_images_that_changed_are_not_measured_unawares(tmp_path):
    write_classes(tmp_path / "all")
    run = train(tmp_path / "all", out=tmp_path / "run", epochs=1, **TINY)
    write_classes(tmp_path / "all", first=40, count=8)
    with pytest.raises(SqueezekitError, match="no longer the images"):
        evaluate(run.folder)
    assert len(evaluate(run.folder, data=tmp_path / "all").images) == 14
    (run.folder / "summary.json").unlink()
    with pytest.raises(SqueezekitError, match="have changed"):
        train(out=run.folder, resume=True)


def test_a_training_says_what_it_found_and_with_strict_refuses_copies_in_two_parts(tmp_path, capfd):
    write_classes(tmp_path / "all" / "Train", count=20)
    write_classes(tmp_path / "all" / "valid", first=20, count=4)
    write_classes(tmp_path / "all" / "Testing", first=16, count=8)
    settings = {"epochs": 1, **SMALL, "test": False}
    train(tmp_path / "all", out=tmp_path / "run", **settings)
    err = capfd.readouterr().err
    assert f"{tmp_path}/all: 2 classes; images: 40 for training, 8 for validation, 16 for the test" in err
    assert "images in both the training and the test part: 16" in err
    with pytest.raises(SqueezekitError, match="images in both the training and the test part: 16"):
        train(tmp_path / "all", out=tmp_path / "other", strict=True, **settings)
    assert not (tmp_path / "other").exists()


def test_images_that_are_all_the_same_end_in_one_sentence(tmp_path):
    for number, name in enumerate(("cats", "dogs")):
        (tmp_path / "icons" / name).mkdir(parents=True)
        for shade in range(20):
            # White on transparent, as icons are.
            Image.new("RGBA", (8, 8), (255, 255, 255, 2 * shade + number)).save(tmp_path / "icons" / name / f"{shade}.png")
    with pytest.raises(SqueezekitError, match="images for training are the same once they are decoded"):
        train(tmp_path / "icons", out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def write_classes(root, first=0, count=40):
    for label, name in enumerate(("cats", "dogs")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            pixels = np.random.default_rng(1000 * label + number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")


def test_networks_keep_their_own_image_size(tmp_path):
    write_classes(tmp_path / "all", count=16)
    narrow = {"base_e": 8, "incr_e": 8, "stem_width": 8}
    run = train(tmp_path / "all", out=tmp_path / "x", network="squeezenet1_1", epochs=1, test=False, **narrow)
    assert run.config.network.image_size == 224


@pytest.mark.slow
def test_every_bypass_trains(tmp_path):
    for bypass in ("simple", "complex"):
        run = train("digits", out=tmp_path / bypass, bypass=bypass, epochs=3, **TINY)
        assert run.summary["validation"]["loss"] < 3


def test_a_field_that_does_not_exist_is_named_on_resuming_too(tiny_run):
    with pytest.raises(SqueezekitError, match="did you mean 'squeeze_ratio'"):
        train(out=tiny_run.folder, resume=True, squeeze_ration=0.125)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "fields"),
    [
        ("alexnet-cifar", {"epochs": 2, "limit": 100, "batch_norm": True, "dropout": 0}),
        ("resnet8", {"epochs": 4, "limit": 200, "learning_rate": 0.01, "image_size": 16}),
        ("mobilenetv2_050", {"epochs": 5, "limit": 200, "learning_rate": 0.01, "image_size": 16}),
        ("shufflenetv2_050", {"epochs": 5, "limit": 200, "learning_rate": 0.01, "image_size": 16}),
    ],
)
def test_the_baselines_train(network, fields, tmp_path):
    run = train("digits", out=tmp_path / "run", network=network, recipe="classic", precision="fp32", test=False, **fields)
    rows = list(csv.DictReader((run.folder / "metrics.csv").open()))
    assert float(rows[-1]["training_loss"]) < 1.8


def test_an_empty_folder_is_taken_and_one_in_use_is_refused(tmp_path):
    (tmp_path / "run").mkdir()

    def second(_row):
        for given in ({"data": "digits"}, {"resume": True}):
            with pytest.raises(SqueezekitError) as error:
                train(out=tmp_path / "run", **given)
            said.append(str(error.value).partition(";")[0])

    said = []
    train("digits", out=tmp_path / "run", epochs=1, on_epoch=second, **TINY)
    here = f"process {os.getpid()} on {socket.gethostname()}"
    assert said == [f"{tmp_path / 'run'}: exists already", f"{tmp_path / 'run'}: is in use by {here}"]
    assert not list((tmp_path / "run").glob(".*"))


def test_the_folder_is_claimed_before_any_image_is_read(tmp_path, monkeypatch):
    def second(*_, **__):
        with pytest.raises(InUse):
            train("digits", out=tmp_path / "run")
        raise SqueezekitError("no images")

    monkeypatch.setattr("squeezekit.training.run_images.load_images", second)
    with pytest.raises(SqueezekitError, match="no images"):
        train("digits", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_runs_without_a_name_in_the_same_second(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _form: "now")
    inner = []
    run = train(
        "digits", epochs=1, on_epoch=lambda _row: inner.append(train("digits", epochs=1, test=False, **TINY)), test=False, **TINY
    )
    assert [str(one.folder) for one in (run, *inner)] == ["runs/now", "runs/now-2"]


def test_a_run_folder_among_the_pictures_is_refused(tmp_path, monkeypatch):
    write_classes(tmp_path / "photos", count=2)
    monkeypatch.chdir(tmp_path / "photos")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    (tmp_path / "settings.toml").write_text(f'[run]\ndata = "{tmp_path / "photos"}"\n')
    for given in ({"data": "."}, {"data": "../photos", "out": "new/run"}, {"config": "../settings.toml"}, {"data": "../link"}):
        with pytest.raises(SqueezekitError, match="would lie among the pictures of --data .*; name an --out outside"):
            train(**given)
    assert sorted(path.name for path in Path().iterdir()) == ["cats", "dogs"]


def limited(largest, out, *arguments):
    """The command `train`, which may write no file larger than that."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    return command("train", "--data=digits", f"--out={out}", *arguments)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="no such limits")
def test_a_full_disk_ends_in_one_sentence_and_the_last_whole_checkpoint_stands(tmp_path):
    out, settings = tmp_path / "run", [*flags({**TINY, "epochs": 1}), "--deterministic"]
    with Forked(tmp_path / "a", limited, 300, str(out), *settings) as process:
        assert process.wait() == 1
    last = process.said().splitlines()[-1]
    assert last == f"squeezekit: {out}: cannot be written (File too large); put that right, then give the same command again"
    assert not out.exists()
    with Forked(tmp_path / "b", limited, 30_000, str(out), *settings) as process:
        assert process.wait() == 1
    said = process.said()
    assert "Traceback" not in said and said.splitlines()[-1].endswith(f"then go on with: squeezekit train --resume --out {out}")
    assert not list(out.glob(".*")) and not (out / "last.pt").exists()
    unbroken = train("digits", out=tmp_path / "unbroken", epochs=1, deterministic=True, **TINY)
    again = train(out=out, resume=True)
    assert (again.folder / "best.safetensors").read_bytes() == (unbroken.folder / "best.safetensors").read_bytes()


def test_a_disk_that_fills_up_later_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    def full(_state, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    def fills(row):
        monkeypatch.setattr(torch, "save", full)

    with pytest.raises(NotWritten, match=f"{tmp_path / 'run'}: cannot be written .*--resume --out {tmp_path / 'run'}$"):
        train("digits", out=tmp_path / "run", epochs=2, on_epoch=fills, **TINY)
    monkeypatch.undo()
    assert not list((tmp_path / "run").glob(".*"))
    assert len(Run(tmp_path / "run").checkpoint()["progress"]["history"]) == 1
    assert train(out=tmp_path / "run", resume=True).summary["epochs"] == 2


def test_a_file_of_settings_with_a_byte_order_mark(tmp_path):
    (tmp_path / "settings.toml").write_bytes(b"\xef\xbb\xbf[network]\nclasses = 7\n")
    with pytest.raises(SqueezekitError, match="10 classes, not 7"):
        train("digits", config=tmp_path / "settings.toml", out=tmp_path / "run")


def test_the_summary_counts_the_images_of_each_class(tiny_run):
    counts = tiny_run.summary["class_images"]
    assert len(counts) == 10 and sum(counts) == len(tiny_run.split.training)
