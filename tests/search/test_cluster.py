"""A search on a real Ray cluster of two nodes on this machine, one of them lost in the middle of its trial."""

import json
import signal
import time

import optuna
import pytest
from optuna.trial import TrialState

from squeezekit import SqueezekitError
from squeezekit.search.cluster import files_of, write_files
from squeezekit.search.search import search
from squeezekit.system.file_lock import one_at_a_time
from squeezekit.training.run_folder import Run
from tests.fixtures.forked import Forked, command
from tests.fixtures.studies import SIZES, TRIAL, space_in, store_in
from tests.fixtures.tiny import flags

ray_cluster = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed; pip install 'squeezekit[ray]'")

EPOCHS = 40


@pytest.fixture
def only_cluster(tmp_path_factory, shared):
    """There can be only one on a machine."""
    with one_at_a_time(shared("ray", lambda folder: folder.mkdir()) / "lock"):
        yield


@pytest.fixture
def cluster(only_cluster):
    """A head of one processor."""
    made = ray_cluster.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield made
    finally:
        made.shutdown()


def rows_of(run):
    return (run / "metrics.csv").read_text().splitlines() if (run / "metrics.csv").exists() else []


def grows(run, before, job):
    """The epochs of a run that has more than before and is not finished."""
    deadline = time.monotonic() + 120
    while len(rows_of(run)) <= max(len(before), 1):
        assert time.monotonic() < deadline and job.runs(), job.said()
        time.sleep(0.02)
    assert not (run / "summary.json").exists()
    return rows_of(run)


@pytest.mark.slow
def test_ctrl_c_and_a_lost_node_lose_nothing_and_a_trial_that_fails_is_a_row_with_its_reason(cluster, tmp_path):
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    out, runs = tmp_path / "study", [tmp_path / "study" / name for name in ("0000", "0001")]
    space = space_in(tmp_path, "[recipe]\nlearning_rate = [0.01, 0.1, 1e30]\n")
    start = ["search", "--data=digits", f"--space={space}", "--sampler=grid", "--pruner=none", f"--cluster={cluster.address}"]
    start += [f"--out={out}", "--json", *flags({**TRIAL, "epochs": EPOCHS})]
    with Forked(tmp_path / "first", command, *start) as job:
        # One trial a node: both are in the middle of theirs.
        before = [grows(run, [], job) for run in runs]
        job.send(signal.SIGINT)
        assert job.wait() == 130 and "the same command goes on" in job.said()
    with Forked(tmp_path / "second", command, *start) as job:
        before = [grows(run, rows, job) for run, rows in zip(runs, before, strict=True)]
        cluster.remove_node(second, allow_graceful=False)
        assert job.wait() == 0, job.said()
        found = json.loads(job.out.read_text())
    assert [row["state"] for row in found["rows"]] == ["done", "done", "failed"]
    assert [len(row["curve"]) for row in found["rows"][:2]] == [EPOCHS] * 2 and "diverged" in found["rows"][2]["reason"]
    assert found["run"] and 0 <= found["test"]["accuracy"] <= 1
    trials = optuna.load_study(study_name="study", storage=store_in(out)).trials
    assert sorted(trial.user_attrs["point"] for trial in trials if trial.state == TrialState.COMPLETE) == [0, 1]
    for run, rows in zip(runs, before, strict=True):
        # Times too: what was trained before the loss was not trained again.
        assert rows_of(run)[: len(rows)] == rows
        assert Run(run).summary["epochs"] == EPOCHS


def test_what_ray_says_while_it_is_left_is_no_result(cluster, tmp_path, monkeypatch, capsys):
    import ray
    from ray._private.utils import publish_error_to_driver
    from ray._private.worker import global_worker

    said, leave = [], ray.shutdown

    def slow_leave():
        publish_error_to_driver("node", "a node was lost", global_worker.gcs_client)
        deadline = time.monotonic() + 60
        while not any(said[-1:]) and time.monotonic() < deadline:
            time.sleep(0.05)
            said.append(capsys.readouterr())
            said[-1] = said[-1] if "a node was lost" in "".join(said[-1]) else ()
        leave()

    monkeypatch.setattr(ray, "shutdown", slow_leave)
    space = space_in(tmp_path, "[recipe]\nlearning_rate = [0.01]\n")
    fields = {**TRIAL, "epochs": 1}
    search("digits", tmp_path / "study", space=space, sampler="grid", pruner="none", cluster=cluster.address, **fields)
    assert "a node was lost" in said[-1].err and not said[-1].out


def test_where_no_cluster_is_one_sentence_says_so(only_cluster, tmp_path):
    with pytest.raises(SqueezekitError, match="--cluster auto: no cluster there .* start one with ray start --head"):
        search("digits", tmp_path / "study", space="learning-rate", cluster="auto", **SIZES)


def test_a_run_folder_travels_whole(tiny_run, tmp_path):
    write_files(tmp_path / "copy", files_of(tiny_run.folder))
    assert files_of(tmp_path / "copy") == files_of(tiny_run.folder)
    assert files_of(tmp_path / "nothing") == {}
