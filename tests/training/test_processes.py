"""Several processes train as one does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import TINY

from squeezekit.training.run_folder import Run

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
FIELDS = {**TINY, "limit": 390, "epochs": 2, "batch_size": 32, "recipe": "report"}


def losses(processes, network, recipe):
    start = [*TORCHRUN, str(processes)] if processes > 1 else [sys.executable]
    arguments = [str(HERE / "one_of_several.py"), json.dumps(network), json.dumps(recipe)]
    done = subprocess.run([*start, *arguments], capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(
    ("network", "recipe"),
    [
        ({"batch_norm": True, "dropout": 0.3, "bypass": "simple"}, {"optimizer": "muon"}),
        ({"dropout": 0.5}, {"optimizer": "adam"}),
    ],
)
def test_several_processes_compute_what_one_does(processes, network, recipe):
    one, several = (losses(count, network, recipe) for count in (1, processes))
    assert len(one["steps"]) == 22
    for what, tolerance in {"steps": 1e-5, "validation": 1e-5, "weights": 1e-3}.items():
        assert several[what] == pytest.approx(one[what], rel=tolerance), what


def command(out, processes, *extra, **fields):
    flags = [part for name, value in {**FIELDS, **fields}.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    start = [*TORCHRUN, str(processes)] if processes > 1 else [sys.executable]
    return [*start, "-m", "squeezekit", "train", "--data", "digits", "--out", str(out), *flags, *extra]


def test_the_command_under_torchrun_writes_one_run_like_that_of_one_process(tmp_path):
    summaries = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        done = subprocess.run(command(out, processes), capture_output=True, text=True, check=False, env=ONE_THREAD)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("epoch 2/2") == 1
        summaries.append(Run(out).summary)
    one, two = ([summary[part]["loss"] for part in ("validation", "test")] for summary in summaries)
    assert two == pytest.approx(one, rel=1e-3)
    logs = [len(list((tmp_path / name / "tensorboard").iterdir())) for name in ("1", "2")]
    assert logs[0] == logs[1]


def test_a_killed_process_ends_all_and_a_restart_goes_on(tmp_path):
    out, log = tmp_path / "run", tmp_path / "log"
    with log.open("w") as file:
        job = subprocess.Popen(command(out, 2, epochs=40), stderr=file, stdout=file)
        deadline = time.monotonic() + 120
        while not (out / "last.pt").exists():
            assert time.monotonic() < deadline and job.poll() is None, log.read_text()
            time.sleep(0.05)
        children = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True).stdout.split()
        os.kill(int(children[-1]), signal.SIGKILL)
        assert job.wait(60) != 0
    assert "another of the 2 processes has ended" in log.read_text()
    assert Run(out).summary is None
    state = Run(out).checkpoint()["progress"]
    done = subprocess.run(
        command(out, 1, epochs=40), capture_output=True, text=True, check=False,
        env={**ONE_THREAD, "TORCHELASTIC_RESTART_COUNT": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"epoch {state['epoch'] + 1}/40" in done.stderr
    assert "epoch 1/40" not in done.stderr


def test_an_error_is_told_once_and_ends_all(tmp_path):
    (tmp_path / "run").mkdir()
    done = subprocess.run(command(tmp_path / "run", 2), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.count("exists already") == 1
