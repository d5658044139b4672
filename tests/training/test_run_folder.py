"""A run that is stopped, or killed at any instant, goes on to the same weights."""

import shutil
import signal

import pytest
import torch

from squeezekit import train
from squeezekit.training.callbacks import Callback
from squeezekit.training.distributed import Processes
from squeezekit.training.run_folder import Run
from squeezekit.training.settings import resolve
from squeezekit.training.start import start_run, trainer_of
from tests.fixtures.forked import Forked
from tests.fixtures.stopped_training import MOMENTS, train_waiting
from tests.fixtures.tiny import TINY, flags

SETTINGS = {**TINY, "epochs": 3, "dropout": 0.5}
FIELDS = {**SETTINGS, "deterministic": True}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return train("digits", out=tmp_path_factory.mktemp("resume") / "unbroken", **FIELDS)


def waiting(moment, tmp_path):
    """The command `train`, as a process that waits at that moment."""
    arguments = ["--data=digits", "--resume", "--deterministic", f"--out={tmp_path / 'run'}", *flags(SETTINGS)]
    process = Forked(tmp_path, train_waiting, moment, str(tmp_path), *arguments)
    process.wait_for(tmp_path / "waits")
    return process


def same(run, unbroken):
    ours, theirs = run.checkpoint(), unbroken.checkpoint()
    weights = [torch.equal(ours["network"][name], theirs["network"][name]) for name in theirs["network"]]
    return all(weights) and (run.folder / "best.safetensors").read_bytes() == (unbroken.folder / "best.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("moment", list(MOMENTS))
def test_sigkill(tmp_path, unbroken, moment):
    waiting(moment, tmp_path).kill()
    out = tmp_path / "run"
    assert (out / "tensorboard").exists() and not (out / "summary.json").exists()
    assert any(out.glob(".last.pt.*.partial")) == ("written" in moment)
    assert (out / "last.pt").exists() == (moment in ("second checkpoint, half written", "after a checkpoint"))
    run = train(out=out, resume=True)
    assert same(run, unbroken)
    assert [row["epoch"] for row in run.checkpoint()["progress"]["history"]] == [1, 2, 3]


@pytest.mark.slow
def test_ctrl_c_saves_the_step_and_says_how_to_go_on(tmp_path, unbroken):
    out = tmp_path / "run"
    with waiting("first epoch", tmp_path) as process:
        process.send(signal.SIGINT)
        (tmp_path / "go on").touch()
        assert process.wait() == 130
    assert f"squeezekit train --resume --out {out}" in process.said()
    progress = Run(out).checkpoint()["progress"]
    assert (progress["epoch"], progress["step"]) == (0, 3)
    assert same(train(out=out, resume=True), unbroken)


class StopAt(Callback):
    """Stops after a step of the first epoch."""

    def __init__(self, step):
        self.step = step

    def on_step(self, trainer, rate):
        trainer.should_stop = trainer.progress.step == self.step


def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_from_that_step(tmp_path, unbroken):
    gathered = resolve(network=None, recipe=None, config=None, fields={**FIELDS, "data": "digits"})
    opened = start_run(tmp_path / "run", *gathered)
    run = opened.run
    trainer = trainer_of(run, opened.source.training, Processes())
    trainer.fit([StopAt(3)])
    assert (trainer.progress.epoch, trainer.progress.step) == (0, 3)
    run.save_checkpoint(trainer.state(), [], {})
    assert same(train(out=run.folder, resume=True), unbroken)


def test_a_run_of_version_0_1_is_read_and_goes_on(tmp_path):
    run = train("digits", out=tmp_path / "run", epochs=1, **TINY)
    before = run.summary
    text = (run.folder / "config.toml").read_text()
    names = (("squeezenet-cifar", "report"), ("normalization", "normalisation"), ('acceleration = "auto"\n', 'weights = ""\n'))
    for now, then in names:
        assert now in text
        text = text.replace(now, then)
    (run.folder / "config.toml").write_text(text)
    (run.folder / "summary.json").unlink()
    again = train(out=run.folder, resume=True)
    assert again.summary["validation"] == before["validation"]
    # Its file may make another run as well.
    other = train(config=run.folder / "config.toml", out=tmp_path / "other")
    assert other.config.network == again.config.network


def test_a_run_of_version_0_1_that_has_no_checkpoint_yet_starts_from_its_file_of_weights(tiny_run, tmp_path):
    run = Run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    place = run.folder / "config.toml"
    weights = tiny_run.folder / "best.safetensors"
    place.write_text(place.read_text() + f'weights = "{weights}"\n')
    assert Run(run.folder).start_weights == weights
