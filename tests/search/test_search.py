"""A search tries every point once, survives its workers, and recommends one network."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from squeezekit import SqueezekitError
from squeezekit.data import sources
from squeezekit.search.plan import SizeLimits, planned, sizes_of
from squeezekit.search.results import Row, front, recommended, rows_of
from squeezekit.search.search import search
from squeezekit.search.study import Study
from squeezekit.training.run_folder import Run

TINY = {"limit": 400, "base_e": 16, "incr_e": 8, "stem_width": 8, "depth": 2, "epochs": 2}
SPACE = "[network]\nsqueeze_ratio = [0.25, 0.5]\n[recipe]\nlearning_rate = [0.01, 0.1]\n"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return str(path)


def plan_of(space, fields=TINY, recipe=None, **options):
    return planned(space, data="digits", network=None, recipe=recipe, config=None, fields=fields, **options)


def command(space, out, *extra, **fields):
    flags = [part for name, value in {**TINY, **fields}.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    start = [sys.executable, "-m", "squeezekit", "search", "--data", "digits", "--space", space, "--sampler", "grid"]
    return [*start, "--pruner", "none", "--out", str(out), *flags, *extra]


def test_two_jobs_finish_a_grid_and_recommend_a_network(space, tmp_path):
    out = tmp_path / "study"
    done = subprocess.run(
        command(space, out, "--jobs", "2", "--json"), capture_output=True, text=True, check=False, env=ONE_THREAD
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["state"] for row in found["rows"]] == ["done"] * 4
    assert [row["fields"] for row in found["rows"]] == planned_points(space)
    assert done.stderr.count(": done, loss") == 4 and "epoch 1/2" not in done.stderr
    best = found["rows"][found["recommended"]]
    assert best["loss"] <= min(row["loss"] + row["loss_error"] for row in found["rows"])
    assert best["loss"] == Run(out / f"{best['point']:04d}").summary["validation"]["loss"]
    assert len(best["curve"]) == 2 and min(best["curve"]) == pytest.approx(best["loss"], abs=0.05)
    assert "test" not in Run(out / f"{best['point']:04d}").summary
    assert 0 <= found["test"]["accuracy"] <= 1
    assert set(found["curves"]) <= {"slow", "stable", "oscillating", "not learning"}
    table = (out / "trials.csv").read_text().splitlines()
    assert len(table) == 5 and table[0].startswith("point,state,squeeze_ratio,learning_rate,validation_loss")
    # The same command again: nothing is trained, and the answer is the same.
    again = subprocess.run(
        command(space, out, "--jobs", "2", "--json"), capture_output=True, text=True, check=False, env=ONE_THREAD
    )
    assert json.loads(again.stdout)["rows"] == found["rows"] and json.loads(again.stdout)["test"] == found["test"]


def planned_points(space):
    return plan_of(space, fields={}).space_of_trials().grid()


def test_another_plan_does_not_go_on_with_a_study(space, tmp_path):
    plan = plan_of(space, sampler="grid")
    Study(plan, f"sqlite:///{tmp_path / 'study.db'}", "study")
    other = plan.model_copy(update={"seed": 1})
    with pytest.raises(SqueezekitError, match="was begun with seed = 0, not 1; choose another --out"):
        Study(other, f"sqlite:///{tmp_path / 'study.db'}", "study")


def test_images_may_lie_elsewhere_but_must_be_the_same(space, tmp_path):
    plan = plan_of(space, sampler="grid")
    Study(plan, f"sqlite:///{tmp_path / 'study.db'}", "study")
    moved = plan.model_copy(update={"fields": {**plan.fields, "data": "/elsewhere"}})
    Study(moved, f"sqlite:///{tmp_path / 'study.db'}", "study")
    with pytest.raises(SqueezekitError, match="was begun with images = "):
        Study(plan.model_copy(update={"images": "others"}), f"sqlite:///{tmp_path / 'study.db'}", "study")


def test_a_folder_that_is_a_run_is_left_alone(space, tiny_run):
    with pytest.raises(SqueezekitError, match="is a run; choose another --out"):
        search("digits", tiny_run.folder, space=space, **TINY)


def test_a_killed_search_goes_on_and_counts_nothing_twice(space, tmp_path):
    out = tmp_path / "study"
    start = command(space, out, "--grace", "3", epochs=6)
    job = subprocess.Popen(start, stderr=subprocess.PIPE, text=True, env=ONE_THREAD, start_new_session=True)
    wait_for(out / "0001" / "last.pt", job)
    # Search and worker, in the middle of the second trial.
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    begun = (out / "0001" / "metrics.csv").read_text().splitlines()
    done = subprocess.run([*start, "--json"], capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [row["state"] for row in rows] == ["done"] * 4 and [len(row["curve"]) for row in rows] == [6] * 4
    # Times too: what had been trained was not trained again.
    assert len(begun) > 1 and (out / "0001" / "metrics.csv").read_text().splitlines()[: len(begun)] == begun
    trials = optuna.load_study(study_name="study", storage=f"sqlite:///{out / 'study.db'}").trials
    completed = [trial.user_attrs["point"] for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(completed) == [0, 1, 2, 3]


def test_a_search_that_is_killed_alone_takes_its_workers_with_it(space, tmp_path):
    out = tmp_path / "study"
    start = command(space, out, epochs=2000)
    job = subprocess.Popen(start, stderr=subprocess.PIPE, text=True, env=ONE_THREAD, start_new_session=True)
    try:
        wait_for(out / "0000" / "last.pt", job)
        job.kill()
        job.wait()
        deadline = time.monotonic() + 30
        while alive_in(job.pid):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)


def alive_in(group):
    """Whether any process of that group still runs."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        # One may end meanwhile.
        with contextlib.suppress(OSError):
            state, _parent, own = file.read_text().rpartition(")")[2].split()[:3]
            if int(own) == group and state != "Z":
                return True
    return False


def wait_for(path, job):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline and job.poll() is None, job.stderr.read()
        time.sleep(0.05)


def test_sigterm_saves_the_trial_and_the_same_command_goes_on_with_what_was_drawn(tmp_path):
    (tmp_path / "space.toml").write_text("[recipe]\nlearning_rate = {low = 0.001, high = 0.1, log = true}\n")
    out = tmp_path / "study"
    start = command(str(tmp_path / "space.toml"), out, "--trials", "1", "--json", epochs=20)
    start[start.index("--sampler") + 1] = "tpe"
    job = subprocess.Popen(start, stderr=subprocess.PIPE, text=True, env=ONE_THREAD)
    wait_for(out / "0000" / "last.pt", job)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 130 and "the same command goes on" in job.stderr.read()
    begun, rows = Run(out / "0000"), (out / "0000" / "metrics.csv").read_text().splitlines()
    assert begun.summary is None and len(rows) > 1
    done = subprocess.run(start, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["state"] == "done" and row["fields"]["learning_rate"] == begun.config.recipe.learning_rate
    # Times too: the epochs before were not trained again.
    assert (out / "0000" / "metrics.csv").read_text().splitlines()[: len(rows)] == rows


def grid_study(space, tmp_path, grace=30, **fields):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    return Study(plan_of(space, **GRID, fields={**TINY, **fields}), url, "study", grace), optuna.load_study(
        study_name="study", storage=url
    )


def test_a_point_that_died_is_queued_again_though_a_superfluous_trial_came_later(space, tmp_path):
    study, shared = grid_study(space, tmp_path)
    study.fill()
    first = shared.ask()
    shared.enqueue_trial({}, user_attrs={"point": 0, "surplus": True})
    shared.tell(first.number, state=TrialState.FAIL)
    study.fill()
    waiting = [trial for trial in shared.trials if trial.state == TrialState.WAITING and "surplus" not in trial.user_attrs]
    assert sorted(trial.user_attrs["point"] for trial in waiting) == [0, 1, 2, 3]
    study.fill()
    assert len(shared.trials) == 6


def test_a_trial_that_was_taken_and_never_begun_is_given_back(space, tmp_path):
    study, shared = grid_study(space, tmp_path, grace=3)
    study.fill()
    # Its worker died before the first heartbeat.
    taken = shared.ask()
    study.fill()
    assert shared.trials[taken.number].state == TrialState.RUNNING
    time.sleep(study.grace + 0.1)
    study.fill()
    assert shared.trials[taken.number].state == TrialState.FAIL
    assert study.rows()[0].state == "waiting" and len(shared.trials) == 5


@pytest.mark.filterwarnings("ignore:Heartbeat")
def test_no_two_workers_take_the_same_trial(space, tmp_path):
    study, shared = grid_study(space, tmp_path)
    for point in range(60):
        shared.enqueue_trial({}, user_attrs={"other": point})
    taken = []

    def take(own):
        for _ in range(20):
            taken.append(own.ask().number)

    others = [Study(study.plan, study.storage, "study")._optuna for _ in range(3)]
    threads = [threading.Thread(target=take, args=(own,)) for own in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(60))


GRID = {"sampler": "grid", "pruner": "none", "trials": 4}


def worked(tmp_path, text, **options):
    """The rows of a study that one worker, this process, has finished."""
    path, fields = tmp_path / "space.toml", {**TINY, "epochs": 1, **options.pop("fields", {})}
    path.write_text(text)
    plan = plan_of(str(path), fields=fields, **options)
    study = Study(plan, f"sqlite:///{tmp_path / 'study.db'}", "study")
    study.work(tmp_path)
    return study.rows()


def test_a_trial_that_diverges_or_cannot_be_is_a_row_with_its_reason(tmp_path):
    text = "[network]\npool_before = [[1, 2], [1, 5]]\n[recipe]\nlearning_rate = [0.01, 1e30]\n"
    good, diverged, impossible, _ = worked(tmp_path, text, sampler="grid", recipe="classic", fields={"depth": 4})
    assert good.state == "done"
    assert diverged.state == "failed" and "diverged" in diverged.reason
    assert impossible.state == "failed" and "from 1 to depth" in impossible.reason


def test_a_worker_looks_at_its_images_once(tmp_path, monkeypatch):
    looks, load = [], sources.load_digits
    monkeypatch.setattr(sources, "load_digits", lambda **given: looks.append(given) or load(**given))
    assert [row.state for row in worked(tmp_path, SPACE, sampler="grid", pruner="none")] == ["done"] * 4
    # And once for the plan.
    assert len(looks) == 2


def test_limits_are_checked_before_a_trial_trains(space, tmp_path):
    plan = plan_of(space, sampler="grid")
    sizes = [sizes_of(plan.config(point)) for point in plan.space_of_trials().grid()]
    limit = (sizes[0]["bytes"] + sizes[2]["bytes"]) // 2
    rows = worked(tmp_path, SPACE, sampler="grid", limits=SizeLimits(bytes=limit))
    assert [row.state for row in rows[2:]] == ["too large"] * 2
    assert f"{sizes[2]['bytes']:,} bytes are more than the {limit:,} allowed" == rows[2].reason
    assert not (tmp_path / "0002").exists() and rows[0].state != "too large"


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_samplers_try_as_many_points_as_asked(tmp_path, sampler):
    text = "[recipe]\nlearning_rate = {low = 0.001, high = 0.1, log = true}\n[network]\nsqueeze_ratio = [0.25, 0.5]\n"
    rows = worked(tmp_path, text, sampler=sampler, trials=3)
    assert [row.state for row in rows] == ["done"] * 3
    assert len({row.fields["learning_rate"] for row in rows}) == 3


def test_halving_stops_hopeless_trials(tmp_path):
    rows = worked(tmp_path, "[recipe]\nlearning_rate = [0.1, 1e-7, 1e-8]\n", sampler="grid", fields={"epochs": 6})
    assert [row.state for row in rows] == ["done", "stopped early", "stopped early"]
    assert "others were better after epoch" in rows[1].reason and len(rows[1].curve) < 6


def test_what_varies_in_the_images_or_twice_is_refused(space, tmp_path):
    (tmp_path / "channels.toml").write_text("[network]\nchannels = [1, 3]\n")
    for path, fields, said in ((tmp_path / "channels.toml", {}, "that of the images"), (space, {"squeeze_ratio": 0.5}, "varies")):
        with pytest.raises(SqueezekitError, match=said):
            plan_of(str(path), fields=fields)
    with pytest.raises(SqueezekitError, match="greater than or equal to 0"):
        search("digits", tmp_path / "study", space=space, limits={"bytes": -1})
    with pytest.raises(SqueezekitError, match="device"):
        search("digits", tmp_path / "study", space=space, device="tpu")


def row(point, loss, parameters, error=0.01, state="done"):
    return Row(point, state, loss=loss, loss_error=error, sizes={"parameters": parameters})


def test_the_smallest_within_one_standard_error_of_the_best_is_recommended():
    rows = [row(0, 0.5, 100), row(1, 0.509, 50), row(2, 0.52, 10), row(3, 0.4, 1, state="stopped early"), row(4, 0.6, 60)]
    assert recommended(rows, "parameters").point == 1
    assert [one.point for one in front(rows, "parameters")] == [2, 1, 0]
    assert recommended([], "parameters") is None and front([], "parameters") == []


def test_a_point_that_two_workers_queued_counts_once(space, tmp_path):
    study, shared = grid_study(space, tmp_path, epochs=1)
    for point, fields in enumerate(study.plan.space_of_trials().grid()):
        for _ in range(2):
            shared.enqueue_trial(fields, user_attrs={"point": point})
    study.work(tmp_path)
    assert sorted(trial.user_attrs["point"] for trial in shared.trials if trial.state == TrialState.COMPLETE) == [0, 1, 2, 3]
    # The last one may still wait when all is done.
    others = [trial for trial in shared.trials if trial.state != TrialState.COMPLETE]
    assert len(others) == 4 and all("surplus" in trial.user_attrs for trial in others[:3])
    assert [one.state for one in rows_of(shared.trials)] == ["done"] * 4


def test_a_store_that_cannot_be_used_is_named_without_its_password(space):
    plan = plan_of(space, sampler="grid", fields={})
    for url, said in (
        ("postgresql://me:secret@127.0.0.1:1/none", "127.0.0.1:1/none"),
        ("nonsense", "no address of a database"),
        ("postgresql://me:secret@h:port/x", "no address"),
    ):
        with pytest.raises(SqueezekitError, match=said) as error:
            Study(plan, url, "study")
        assert "secret" not in str(error.value)
