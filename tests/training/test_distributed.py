"""Several processes train as one does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from squeezekit.training.run_folder import Run
from tests.fixtures.tiny import TINY

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
FIELDS = {**TINY, "limit": 390, "epochs": 2, "batch_size": 32, "recipe": "classic"}


def losses(processes, network, recipe):
    start = [*TORCHRUN, str(processes)] if processes > 1 else [sys.executable]
    arguments = [str(HERE / "one_of_several.py"), json.dumps(network), json.dumps(recipe)]
    done = subprocess.run([*start, *arguments], capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


NORMED = {"batch_norm": True, "dropout": 0.3, "bypass": "simple"}


# Not Muon with dropout: it makes steps of length 1 from gradients that are little more than rounding.
@pytest.mark.parametrize(
    ("processes", "network", "recipe"),
    [
        (2, NORMED, {"optimizer": "sgd"}),
        (3, NORMED, {"optimizer": "sgd"}),
        (2, {"batch_norm": True, "dropout": 0}, {"optimizer": "muon"}),
        (3, {"dropout": 0.5}, {"optimizer": "adam"}),
    ],
)
def test_several_processes_compute_what_one_does(processes, network, recipe):
    one, several = (losses(count, network, recipe) for count in (1, processes))
    assert len(one["steps"]) == 22
    for what, tolerance in {"steps": 1e-5, "validation": 1e-5, "weights": 1e-3}.items():
        assert several[what] == pytest.approx(one[what], rel=tolerance, abs=1e-4), what


def command(out, processes, *extra, **fields):
    flags = [part for name, value in {**FIELDS, **fields}.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    start = [*TORCHRUN, str(processes)] if processes > 1 else [sys.executable]
    return [*start, "-m", "squeezekit", "train", "--data", "digits", "--out", str(out), *flags, *extra]


def test_the_command_under_torchrun_writes_one_run_like_that_of_one_process(tmp_path):
    summaries = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        done = subprocess.run(command(out, processes, "--json"), capture_output=True, text=True, check=False, env=ONE_THREAD)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("epoch 2/2") == 1
        summaries.append(Run(out).summary)
        assert json.loads(done.stdout)["test"] == summaries[-1]["test"]
    one, two = ([summary[part]["loss"] for part in ("validation", "test")] for summary in summaries)
    assert two == pytest.approx(one, rel=1e-3)
    logs = [len(list((tmp_path / name / "tensorboard").iterdir())) for name in ("1", "2")]
    assert logs[0] == logs[1]


def children(job):
    return subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True).stdout.split()


def wait_for(path, job, log):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline and job.poll() is None, log.read_text()
        time.sleep(0.05)


def test_a_killed_process_ends_all_and_torchruns_restart_goes_on(tmp_path):
    out, log = tmp_path / "run", tmp_path / "log"
    start = command(out, 2, epochs=8)
    start.insert(start.index("--nproc-per-node"), "--max-restarts=1")
    with log.open("w") as file:
        job = subprocess.Popen(start, stderr=file, stdout=file, env=ONE_THREAD)
        wait_for(out / "last.pt", job, log)
        os.kill(int(children(job)[-1]), signal.SIGKILL)
        assert job.wait(120) == 0, log.read_text()
    text = log.read_text()
    assert "another of the 2 processes has ended" in text, text
    assert text.count("epoch 1/8") == text.count("epoch 8/8") == 1
    assert Run(out).summary["epochs"] == 8


def test_a_restart_leaves_another_launchs_run_alone(tmp_path):
    out = tmp_path / "run"
    subprocess.run(command(out, 1), check=True, capture_output=True, env=ONE_THREAD)
    start = command(out, 2)
    start.insert(start.index("--nproc-per-node"), "--max-restarts=1")
    done = subprocess.run(start, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode != 0 and done.stderr.count("exists already") == 2


def test_a_stop_request_saves_and_all_end_after_the_same_step(tmp_path):
    out, log = tmp_path / "run", tmp_path / "log"
    with log.open("w") as file:
        job = subprocess.Popen(command(out, 2, epochs=40), stderr=file, stdout=file, env=ONE_THREAD)
        wait_for(out / "last.pt", job, log)
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) != 0
    text = log.read_text()
    assert text.count("go on with: squeezekit train --resume") >= 1
    done = subprocess.run([*command(out, 1, epochs=40), "--resume"], capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0 and "epoch 1/40" not in done.stderr


def test_an_error_is_told_once_and_ends_all(tmp_path):
    (tmp_path / "run").mkdir()
    done = subprocess.run(command(tmp_path / "run", 2), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.count("exists already") == 1
