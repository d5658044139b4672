"""A study: its queue, its store, what dead workers leave behind; three machines that share one in PostgreSQL."""

import json
import os
import sqlite3
import threading
from contextlib import ExitStack, closing
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from squeezekit import SqueezekitError
from squeezekit.data import sources
from squeezekit.search import study as module
from squeezekit.search.results import rows_of
from squeezekit.search.search import search
from squeezekit.search.study import Study
from squeezekit.system.atomic_io import NotWritten
from squeezekit.training.run_folder import Run
from tests.fixtures.forked import Forked, command
from tests.fixtures.postgresql import running_postgresql
from tests.fixtures.studies import GRID, TRIAL, plan_of, space_in, store_in, work_waiting, worked
from tests.fixtures.tiny import flags


def test_another_plan_does_not_go_on_with_a_study(tmp_path):
    plan = plan_of(space_in(tmp_path), sampler="grid")
    Study(plan, store_in(tmp_path), "study")
    other = plan.model_copy(update={"seed": 1})
    with pytest.raises(SqueezekitError, match="was begun with seed = 0, not 1; choose another --out"):
        Study(other, store_in(tmp_path), "study")
    for fields, said in (({"weight_decay": 0.5}, "weight_decay = nothing, not 0.5"), ({"epochs": 99}, r"epochs = \w+, not 99")):
        other = plan.model_copy(update={"fields": {**plan.fields, **fields}})
        with pytest.raises(SqueezekitError, match=f"was begun with {said}; choose another --out"):
            Study(other, store_in(tmp_path), "study")


@pytest.mark.slow
def test_images_may_lie_elsewhere_but_must_be_the_same(tmp_path):
    plan = plan_of(space_in(tmp_path), sampler="grid")
    Study(plan, store_in(tmp_path), "study")
    moved = plan.model_copy(update={"fields": {**plan.fields, "data": "/elsewhere"}})
    Study(moved, store_in(tmp_path), "study")
    with pytest.raises(SqueezekitError, match="was begun with images = "):
        Study(plan.model_copy(update={"images": "others"}), store_in(tmp_path), "study")


def grid_study(tmp_path, **fields):
    study = Study(plan_of(space_in(tmp_path), **GRID, fields={**TRIAL, **fields}), store_in(tmp_path), "study")
    return study, optuna.load_study(study_name="study", storage=study.storage)


def test_a_point_that_died_is_queued_again_though_a_superfluous_trial_came_later(tmp_path):
    study, shared = grid_study(tmp_path)
    study.fill()
    first = shared.ask()
    shared.enqueue_trial({}, user_attrs={"point": 0, "surplus": True})
    shared.tell(first.number, state=TrialState.FAIL)
    study.fill()
    waiting = [trial for trial in shared.trials if trial.state == TrialState.WAITING and "surplus" not in trial.user_attrs]
    assert sorted(trial.user_attrs["point"] for trial in waiting) == [0, 1, 2, 3]
    study.fill()
    assert len(shared.trials) == 6


def test_a_trial_that_was_taken_and_never_begun_is_given_back(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    study, shared = grid_study(tmp_path)
    study.fill()
    # Its worker died before the first heartbeat.
    taken = shared.ask()
    for seconds, state in ((0, TrialState.RUNNING), (30, TrialState.RUNNING), (30.1, TrialState.FAIL)):
        clock[0] = seconds
        study.fill()
        assert shared.trials[taken.number].state == state
    assert study.rows()[0].state == "waiting" and len(shared.trials) == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Heartbeat")
def test_no_two_workers_take_the_same_trial(tmp_path):
    study, shared = grid_study(tmp_path)
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


@pytest.mark.slow
def test_a_worker_looks_at_its_images_once(tmp_path, monkeypatch):
    looks, load = [], sources.load_digits
    monkeypatch.setattr(sources, "load_digits", lambda **given: looks.append(given) or load(**given))
    text = "[recipe]\nlearning_rate = [0.01, 0.1]\n"
    assert [row.state for row in worked(tmp_path, text, sampler="grid", pruner="none")] == ["done"] * 2
    # And once for the plan.
    assert len(looks) == 2


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_samplers_try_as_many_points_as_asked(tmp_path, sampler):
    text = "[recipe]\nlearning_rate = {low = 0.001, high = 0.1, log = true}\n[network]\nsqueeze_ratio = [0.25, 0.5]\n"
    rows = worked(tmp_path, text, sampler=sampler, trials=3)
    assert [row.state for row in rows] == ["done"] * 3
    assert len({row.fields["learning_rate"] for row in rows}) == 3


@pytest.mark.slow
def test_a_point_that_two_workers_queued_counts_once(tmp_path):
    study, shared = grid_study(tmp_path, epochs=1)
    for point, fields in enumerate(study.plan.space_of_trials().grid()):
        for _ in range(2):
            shared.enqueue_trial(fields, user_attrs={"point": point})
    study.work(tmp_path)
    assert sorted(trial.user_attrs["point"] for trial in shared.trials if trial.state == TrialState.COMPLETE) == [0, 1, 2, 3]
    # The last one may still wait when all is done.
    others = [trial for trial in shared.trials if trial.state != TrialState.COMPLETE]
    assert len(others) == 4 and all("surplus" in trial.user_attrs for trial in others[:3])
    assert [one.state for one in rows_of(shared.trials)] == ["done"] * 4


def test_a_store_that_cannot_be_used_is_named_without_its_password(tmp_path):
    plan = plan_of(space_in(tmp_path), sampler="grid", fields={})
    for url, said in (
        ("postgresql://me:secret@127.0.0.1:1/none", "127.0.0.1:1/none"),
        ("nonsense", "no address of a database"),
        ("postgresql://me:secret@h:port/x", "no address"),
    ):
        with pytest.raises(SqueezekitError, match=said) as error:
            Study(plan, url, "study")
        assert "secret" not in str(error.value)


def test_a_password_in_what_a_driver_says_is_not_repeated():
    error = optuna.exceptions.StorageInternalError("cannot log in with secret")
    with pytest.raises(SqueezekitError, match=r"cannot log in with …") as shown, module._explained("postgresql://me:secret@h/x"):
        raise error
    assert "secret" not in str(shown.value)


def _not_a_database(file):
    file.write_bytes(b"not a database, but as long as the head of one" * 100)


def _half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _pipe(file):
    file.unlink()
    os.mkfifo(file)


def _sql(statement):
    def change(file):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(statement)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        _not_a_database,
        _half,
        _pipe,
        _sql("UPDATE study_user_attributes SET value_json = '5'"),
        _sql("UPDATE study_user_attributes SET value_json = '\"[1]\"'"),
        _sql("UPDATE study_user_attributes SET value_json = '{'"),
        _sql("UPDATE study_directions SET direction = 'SIDEWAYS'"),
        _sql("UPDATE trial_user_attributes SET value_json = '\"x\"' WHERE key = 'point'"),
        _sql("UPDATE trial_user_attributes SET value_json = '[[]]' WHERE key = 'point'"),
        _sql("UPDATE trials SET state = 'LOST'"),
    ],
)
def test_a_damaged_store_is_named(tmp_path, damage):
    study = Study(plan_of(space_in(tmp_path), sampler="grid"), store_in(tmp_path), "study")
    study.fill()
    damage(tmp_path / "study.db")
    with pytest.raises(SqueezekitError, match=r"study\.db: .*choose another --out, or delete it") as error:
        Study(study.plan, study.storage, study.name).rows()
    assert "\n" not in str(error.value)


def test_a_store_on_a_full_disk_is_a_failure_of_the_work(tmp_path):
    with pytest.raises(NotWritten, match=r"study\.db: cannot be written \(database or disk is full\)") as error:  # noqa: SIM117
        with module._explained(store_in(tmp_path)):
            raise optuna.exceptions.StorageInternalError("database or disk is full")
    assert error.value.exit_code == 1


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_nothing_counts_twice(tmp_path):
    out, space = tmp_path / "study", space_in(tmp_path)
    out.mkdir()
    plan = plan_of(space, sampler="grid", pruner="none")
    about = (plan.model_dump_json(), store_in(out), 30, str(out), str(tmp_path), "0001")
    with Forked(tmp_path, work_waiting, *about) as worker:
        worker.wait_for(tmp_path / "waits")
    begun = (out / "0001" / "metrics.csv").read_text().splitlines()
    assert len(begun) == 2
    # As if its heart had stopped long ago.
    with closing(sqlite3.connect(out / "study.db")) as store, store:
        assert store.execute("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 hour')").rowcount
    rows = search("digits", out, space=space, sampler="grid", pruner="none", **TRIAL).rows
    assert [row.state for row in rows] == ["done"] * 4 and [len(row.curve) for row in rows] == [2] * 4
    # Times too: what had been trained was not trained again.
    assert (out / "0001" / "metrics.csv").read_text().splitlines()[:2] == begun
    trials = optuna.load_study(study_name="study", storage=store_in(out)).trials
    completed = [trial.user_attrs["point"] for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(completed) == [0, 1, 2, 3]


@pytest.fixture
def server():
    with running_postgresql() as url:
        yield url


@pytest.mark.slow
def test_a_killed_machine_loses_no_configuration_and_none_counts_twice(server, tmp_path):
    space, folders = space_in(tmp_path), [tmp_path / name / "study" for name in "abc"]
    plan = plan_of(space, sampler="grid", pruner="none").model_dump_json()
    start = ["search", "--data=digits", f"--space={space}", "--sampler=grid", "--pruner=none", "--json", "--grace=3"]
    with ExitStack() as running:
        machine = running.enter_context(Forked(tmp_path / "a", work_waiting, plan, server, 3, str(folders[0]), str(tmp_path)))
        machine.wait_for(tmp_path / "waits")
        (begun,) = (path.parent.name for path in folders[0].glob("*/last.pt"))
        others = []
        for folder in folders[1:]:
            given = [*start, f"--storage={server}", f"--out={folder}", *flags(TRIAL)]
            others.append(running.enter_context(Forked(folder.parent, command, *given)))
        for other, folder in zip(others, folders[1:], strict=True):
            other.wait_for(folder)
        machine.kill()
        assert [other.wait() for other in others] == [0, 0], [other.said() for other in others]
    for other in others:
        rows = json.loads(other.out.read_text())["rows"]
        assert [row["state"] for row in rows] == ["done"] * 4
        assert len({tuple(row["fields"].values()) for row in rows}) == 4
    trials = optuna.load_study(study_name="study", storage=server).trials
    completed = [trial.user_attrs["point"] for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(completed) == list(range(4))
    lost = [trial for trial in trials if trial.state == TrialState.FAIL and "surplus" not in trial.user_attrs]
    assert [trial.user_attrs["point"] for trial in lost] == [int(begun)]
    # Trained again from the beginning: the dead machine's folder is its own.
    again = [folder / begun for folder in folders[1:] if (folder / begun / "summary.json").exists()]
    assert len(again) == 1 and Run(again[0]).summary["epochs"] == TRIAL["epochs"]
