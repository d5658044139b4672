"""Several processes train as one does."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from squeezekit import SqueezekitError, train
from squeezekit.training.distributed import Processes
from squeezekit.training.run_folder import Run
from tests.fixtures.forked import command
from tests.fixtures.one_of_several import in_float64, losses, print_losses, together
from tests.fixtures.tiny import TINY, flags

pytestmark = pytest.mark.slow

FIELDS = {**TINY, "limit": 390, "epochs": 2, "batch_size": 32, "recipe": "classic"}
NORMED = {"batch_norm": True, "dropout": 0.3, "bypass": "simple"}
# Not Muon with dropout: it makes steps of length 1 from gradients that are little more than rounding.
TRAININGS = {
    2: [(NORMED, {"optimizer": "sgd"}), ({"batch_norm": True, "dropout": 0}, {"optimizer": "muon"})],
    3: [(NORMED, {"optimizer": "sgd"}), ({"dropout": 0.5}, {"optimizer": "adam"})],
}


@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.long), 3])
def test_several_processes_compute_what_one_does(processes, tmp_path):
    trainings = TRAININGS[processes]
    with in_float64():
        alone = [losses(Processes(), *training) for training in trainings]
    assert together(processes, tmp_path, print_losses, trainings) == [0] * processes, (tmp_path / "0" / "err").read_text()
    found = map(json.loads, (tmp_path / "0" / "out").read_text().splitlines())
    for one, several in zip(alone, found, strict=True):
        assert len(one["steps"]) == 22
        for what, tolerance in {"steps": 1e-5, "validation": 1e-5, "weights": 1e-3}.items():
            assert several[what] == pytest.approx(one[what], rel=tolerance, abs=1e-4), what


def arguments(out, **fields):
    return ["train", "--data=digits", f"--out={out}", *flags({**FIELDS, **fields})]


def test_the_command_of_two_processes_writes_one_run_like_that_of_one(tmp_path, capsys):
    assert command(*arguments(tmp_path / "one"), "--json") == 0
    said = capsys.readouterr()
    assert together(2, tmp_path, command, *arguments(tmp_path / "two"), "--json") == [0, 0]
    out, err = ["".join((tmp_path / rank / name).read_text() for rank in "01") for name in ("out", "err")]
    summaries = [Run(tmp_path / name).summary for name in ("one", "two")]
    assert err.count("epoch 2/2") == said.err.count("epoch 2/2") == 1
    assert [json.loads(text)["test"] for text in (said.out, out)] == [summary["test"] for summary in summaries]
    one, two = ([summary[part]["loss"] for part in ("validation", "test")] for summary in summaries)
    assert two == pytest.approx(one, rel=1e-3)
    logs = [len(list((tmp_path / name / "tensorboard").iterdir())) for name in ("one", "two")]
    assert logs[0] == logs[1]


def children(job):
    return subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True).stdout.split()


def wait_until(condition, job, log):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and job.poll() is None, log.read_text()
        time.sleep(0.02)


def test_torchrun_restarts_what_was_killed_and_a_stop_request_ends_all_after_the_same_step(tmp_path, capsys):
    out, log = tmp_path / "run", tmp_path / "log"
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    start += ["-m", "squeezekit", *arguments(out, epochs=20)]
    with log.open("w") as file:
        job = subprocess.Popen(start, stderr=file, stdout=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
        wait_until((out / "last.pt").exists, job, log)
        os.kill(int(children(job)[-1]), signal.SIGKILL)
        wait_until(lambda: "another of the 2 processes has ended" in log.read_text(), job, log)
        before = log.read_text().count("epoch ")
        wait_until(lambda: log.read_text().count("epoch ") > before, job, log)
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) != 0
    assert "go on with: squeezekit train --resume" in log.read_text() and Run(out).summary is None
    assert command(*arguments(out, epochs=20), "--resume") == 0
    # Every epoch was trained once: each time it went on where it was.
    text = log.read_text() + capsys.readouterr().err
    assert [text.count(f"epoch {epoch}/20 ") for epoch in range(1, 21)] == [1] * 20
    assert Run(out).summary["epochs"] == 20


def test_a_restart_goes_on_with_its_own_launchs_run_and_leaves_another_alone(tiny_run, tmp_path, monkeypatch):
    launch = {"TORCHELASTIC_RUN_ID": "mine", "WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    run = train("digits", out=tmp_path / "run", **FIELDS)
    for count in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        with pytest.raises(SqueezekitError, match="exists already"):
            train("digits", out=tiny_run.folder, **FIELDS)
    assert train("digits", out=run.folder, **FIELDS).summary == run.summary


def test_an_error_is_told_once_and_ends_all(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    assert 0 not in together(2, tmp_path, command, *arguments(tmp_path / "run"), imports="torch")
    assert sum((tmp_path / rank / "err").read_text().count("exists already") for rank in "01") == 1
