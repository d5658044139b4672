"""A search on a real Ray cluster of two nodes on this machine, one of them lost in the middle of its trial."""

import json
import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from squeezekit import SqueezekitError
from squeezekit.search.cluster import files_of, write_files
from squeezekit.search.search import search
from squeezekit.training.run_folder import Run

# There can be only one cluster.
pytestmark = pytest.mark.alone

ray_cluster = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed; pip install 'squeezekit[ray]'")

SPACE = "[network]\nsqueeze_ratio = [0.25, 0.5]\n[recipe]\nlearning_rate = [0.01, 0.1]\n"
TINY = {"limit": 400, "base_e": 16, "incr_e": 8, "stem_width": 8, "depth": 2, "epochs": 25}


@pytest.fixture
def cluster():
    """A head and a second node, of one processor each."""
    made = ray_cluster.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield made
    finally:
        made.shutdown()


def command(cluster, space, out, *extra):
    flags = [part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    start = [sys.executable, "-m", "squeezekit", "search", "--data", "digits", "--space", str(space), "--sampler", "grid"]
    return [*start, "--pruner", "none", "--cluster", cluster.address, "--out", str(out), "--json", *flags, *extra]


def begun(folder, job):
    """The epochs of a run that has some and is not finished."""
    deadline = time.monotonic() + 300
    while not (folder / "metrics.csv").exists():
        assert time.monotonic() < deadline and job.poll() is None, job.stderr.read()
        time.sleep(0.02)
    assert not (folder / "summary.json").exists()
    return (folder / "metrics.csv").read_text().splitlines()


def test_a_lost_nodes_trial_goes_on_elsewhere(cluster, tmp_path):
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    (tmp_path / "space.toml").write_text(SPACE)
    out = tmp_path / "study"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    job = subprocess.Popen(command(cluster, tmp_path / "space.toml", out), **pipes)
    # One trial a node: both are in the middle of theirs.
    before = [begun(out / "0000", job), begun(out / "0001", job)]
    cluster.remove_node(second, allow_graceful=False)
    stdout, stderr = job.communicate(timeout=300)
    assert job.returncode == 0, stderr
    found = json.loads(stdout)
    assert [row["state"] for row in found["rows"]] == ["done"] * 4 and [len(row["curve"]) for row in found["rows"]] == [25] * 4
    assert found["run"] and 0 <= found["test"]["accuracy"] <= 1
    trials = optuna.load_study(study_name="study", storage=f"sqlite:///{out / 'study.db'}").trials
    assert sorted(trial.user_attrs["point"] for trial in trials if trial.state == TrialState.COMPLETE) == [0, 1, 2, 3]
    for number, rows in enumerate(before):
        # Times too: what was trained before the loss was not trained again.
        assert (out / f"000{number}" / "metrics.csv").read_text().splitlines()[: len(rows)] == rows
        assert Run(out / f"000{number}").summary["epochs"] == 25


def test_ctrl_c_ends_the_tasks_and_the_same_command_goes_on(cluster, tmp_path):
    (tmp_path / "space.toml").write_text("[network]\nsqueeze_ratio = [0.25]\n[recipe]\nlearning_rate = [0.1]\n")
    start, out = command(cluster, tmp_path / "space.toml", tmp_path / "study"), tmp_path / "study"
    job = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    before = begun(out / "0000", job)
    job.send_signal(signal.SIGINT)
    assert job.wait(60) == 130 and "the same command goes on" in job.stderr.read()
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (out / "0000" / "metrics.csv").read_text().splitlines()[: len(before)] == before


def test_a_trial_that_fails_on_a_node_is_a_row_with_its_reason(cluster, tmp_path):
    (tmp_path / "space.toml").write_text("[recipe]\nlearning_rate = [0.01, 1e30]\n")
    done = subprocess.run(
        command(cluster, tmp_path / "space.toml", tmp_path / "study", "--recipe", "classic", "--epochs", "1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    good, bad = json.loads(done.stdout)["rows"]
    assert good["state"] == "done" and bad["state"] == "failed" and "diverged" in bad["reason"]


def test_where_no_cluster_is_one_sentence_says_so(tmp_path):
    with pytest.raises(SqueezekitError, match="--cluster auto: no cluster there .* start one with ray start --head"):
        search("digits", tmp_path / "study", space="learning-rate", cluster="auto", **TINY)


def test_a_run_folder_travels_whole(tiny_run, tmp_path):
    write_files(tmp_path / "copy", files_of(tiny_run.folder))
    assert files_of(tmp_path / "copy") == files_of(tiny_run.folder)
    assert files_of(tmp_path / "nothing") == {}
