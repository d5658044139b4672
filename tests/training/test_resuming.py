"""A run that is stopped, or killed at any instant, goes on to the same weights."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from squeezekit import train
from squeezekit.training.run_folder import Run
from tests.conftest import TINY

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


def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_from_that_step(tmp_path, unbroken):
    from squeezekit.data.sources import load_images
    from squeezekit.training.distributed import Processes
    from squeezekit.training.settings import build_config, resolve
    from squeezekit.training.train import _finish, start_run, trainer_of

    gathered = resolve(network=None, recipe=None, config=None, fields={**FIELDS, "data": "digits"})
    assert build_config(*gathered)
    run, source = start_run(tmp_path / "run", *gathered)
    trainer = trainer_of(run, source.training, Processes())
    assert not trainer.train_epoch(lambda progress, rate: progress.step == 3)
    run.save_checkpoint(trainer.state(), [], {})
    _finish(Run(run.folder), load_images("digits"), Processes(), None)
    assert same(run, unbroken)
