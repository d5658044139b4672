"""Processes that work on a search end with it, and lose nothing."""

import json
import signal
import time

import pytest

from squeezekit.search import workers
from squeezekit.training.run_folder import Run
from tests.fixtures.forked import Forked, command, forks
from tests.fixtures.studies import TRIAL, space_in
from tests.fixtures.tiny import flags

pytestmark = pytest.mark.slow


def arguments(space, out, *extra, **fields):
    return ["search", "--data=digits", f"--space={space}", "--pruner=none", f"--out={out}", *flags({**TRIAL, **fields}), *extra]


@pytest.mark.parametrize(("may_use", "threads", "jobs", "each"), [(8, 8, 2, 4), (1, 8, 1, 1), (8, 1, 2, 1), (2, 2, 3, 1)])
def test_workers_share_the_threads_and_processors_that_a_search_may_use(monkeypatch, may_use, threads, jobs, each):
    monkeypatch.setattr(workers, "usable_processors", lambda: may_use)
    monkeypatch.setattr(workers.torch, "get_num_threads", lambda: threads)
    assert workers.threads_of_each(jobs) == each


def test_a_search_that_is_killed_alone_takes_its_workers_with_it(tmp_path):
    out = tmp_path / "study"
    with Forked(tmp_path, command, *arguments(space_in(tmp_path), out, "--sampler=grid", "--jobs=2", epochs=2000)) as job:
        for run in ("0000", "0001"):
            job.wait_for(out / run / "last.pt")
        workers = forks() - {job.pid}
        assert len(workers) == 2
    deadline = time.monotonic() + 30
    while forks() & workers:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_saves_the_trial_and_the_same_command_goes_on_with_what_was_drawn(tmp_path, capsys):
    space, out = space_in(tmp_path, "[recipe]\nlearning_rate = {low = 0.001, high = 0.1, log = true}\n"), tmp_path / "study"
    start = arguments(space, out, "--sampler=tpe", "--trials=1", "--json", epochs=8)
    with Forked(tmp_path, command, *start) as job:
        job.wait_for(out / "0000" / "last.pt")
        job.send(signal.SIGTERM)
        assert job.wait() == 130 and "the same command goes on" in job.said()
    begun, rows = Run(out / "0000"), (out / "0000" / "metrics.csv").read_text().splitlines()
    assert begun.summary is None and len(rows) > 1
    assert command(*start) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["state"] == "done" and row["fields"]["learning_rate"] == begun.config.recipe.learning_rate
    # Times too: the epochs before were not trained again.
    assert (out / "0000" / "metrics.csv").read_text().splitlines()[: len(rows)] == rows
