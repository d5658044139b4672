"""A run that is stopped, or killed at any instant, goes on to the same weights."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from squeezekit import train
from squeezekit.training.callbacks import Callback
from squeezekit.training.distributed import Processes
from squeezekit.training.run_folder import Run
from squeezekit.training.settings import resolve
from squeezekit.training.train import start_run, trainer_of
from tests.fixtures.tiny import TINY

FIELDS = {**TINY, "epochs": 3, "dropout": 0.5, "deterministic": True}
COMMAND = [sys.executable, "-m", "squeezekit", "train", "--data", "digits", "--resume", "--deterministic"]
COMMAND += [f"--{name.replace('_', '-')}={value}" for name, value in FIELDS.items() if name != "deterministic"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return train("digits", out=tmp_path_factory.mktemp("resume") / "unbroken", **FIELDS)


def start(out):
    return subprocess.Popen([*COMMAND, "--out", str(out)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def same(run, unbroken):
    ours, theirs = run.checkpoint(), unbroken.checkpoint()
    weights = [torch.equal(ours["network"][name], theirs["network"][name]) for name in theirs["network"]]
    return all(weights) and (run.folder / "best.safetensors").read_bytes() == (unbroken.folder / "best.safetensors").read_bytes()


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)


@pytest.mark.parametrize("moment", ["first epoch", "checkpoint write", "after an epoch"])
def test_sigkill(tmp_path, unbroken, moment):
    out = tmp_path / "run"
    process = start(out)
    conditions = {
        "first epoch": lambda: (out / "tensorboard").exists(),
        "checkpoint write": lambda: out.exists() and any(out.glob(".last.pt.*.partial")),
        "after an epoch": lambda: (out / "metrics.csv").exists(),
    }
    wait_for(conditions[moment], process)
    process.kill()
    process.wait()
    run = train(out=out, resume=True)
    assert same(run, unbroken)
    assert [row["epoch"] for row in run.checkpoint()["progress"]["history"]] == [1, 2, 3]


def test_ctrl_c_saves_the_step_and_says_how_to_go_on(tmp_path, unbroken):
    out = tmp_path / "run"
    process = start(out)
    wait_for(lambda: (out / "tensorboard").exists(), process)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"squeezekit train --resume --out {out}" in messages
    assert Run(out).checkpoint() is not None
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
    run = train("digits", out=tmp_path / "run", epochs=1, **TINY)
    place = run.folder / "config.toml"
    weights = tiny_run.folder / "best.safetensors"
    place.write_text(place.read_text() + f'weights = "{weights}"\n')
    assert Run(run.folder).start_weights == weights
