"""The workers that train a study, and the table that shows how far they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import torch

from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.registry import register_network, registered_networks
from squeezekit.search.live_table import LiveTable
from squeezekit.search.plan import StudyPlan
from squeezekit.search.study import Study
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.processors import usable_processors
from squeezekit.training.interruption import Interrupted, stop_requests, stop_signals

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

LOOK_SECONDS = 0.5


class Worker(Protocol):
    """Trains one trial after another until none waits."""

    def alive(self) -> bool:
        """Whether it still works."""

    def end(self) -> None:
        """Ask it to save its trial, and end."""

    def problem(self) -> SqueezekitError | None:
        """The error that it ended with, if any."""


def work(study: Study, folder: Path, jobs: int) -> None:
    """Train everything with so many processes; raises Interrupted when asked to stop, SqueezekitError when none can go on."""
    _check(jobs)
    for name, config_class in registered_networks().items():
        # A worker imports the class; it finds none of a notebook's cell or of a function.
        in_notebook = config_class.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
        if in_notebook or "<locals>" in config_class.__qualname__:
            raise SqueezekitError(f"network '{name}': worker processes cannot import its class; define it in a module")
    watched(study, jobs, lambda number: _Process(study, folder, number, jobs))


def watched(study: Study, jobs: int, start: Callable[[int], Worker]) -> None:
    """Start so many workers, and show how far they are until the last has ended; raises what `work` does."""
    _check(jobs)
    study.fill()
    if study.ended():
        return
    workers = [start(number) for number in range(jobs)]
    stopping = False
    with stop_requests() as stop, LiveTable(study.plan) as live:
        try:
            while any(worker.alive() for worker in workers):
                if stop.is_set() and not stopping:
                    stopping = True
                    _end(workers)
                live.show(study.rows())
                # A stop request is heard at once.
                (time.sleep if stopping else stop.wait)(LOOK_SECONDS)
            live.show(study.rows())
        finally:
            if not stopping:
                _end(workers)
    problems = [problem for worker in workers if (problem := worker.problem())]
    if study.ended():
        return
    # Workers may have received Ctrl-C themselves, and have ended before they were asked to.
    if stop.is_set():
        raise Interrupted("stopped; the same command goes on")
    if problems:
        raise problems[0]
    raise RunFailed("a worker has ended before its time; the same command goes on")


def _check(jobs: int) -> None:
    if jobs < 1:
        raise SqueezekitError(f"--jobs {jobs}: give at least 1")


def _end(workers: Sequence[Worker]) -> None:
    for worker in workers:
        if worker.alive():
            worker.end()


def process_context() -> ForkServerContext | SpawnContext:
    """What makes workers: on Linux forks of one process that has imported everything, elsewhere new ones."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def threads_of_each(jobs: int) -> int:
    """With how many threads each of so many workers computes: its share of those that this process may use."""
    return max(min(torch.get_num_threads(), usable_processors()) // jobs, 1)


class _Process:
    """A process of this machine, with its share of the processor."""

    def __init__(self, study: Study, folder: Path, number: int, jobs: int) -> None:
        context = process_context()
        self._here, there = context.Pipe(duplex=False)
        about = (study.plan.model_dump_json(), study.storage, study.name, study.grace)
        # Settings of today: the process that it is forked from may have been started with others.
        given = (dict(os.environ), threads_of_each(jobs), registered_networks())
        self._process = context.Process(target=_work_there, args=(about, str(folder), number, there, *given))
        self._process.start()
        there.close()

    def alive(self) -> bool:
        return self._process.is_alive()

    def end(self) -> None:
        self._process.terminate()

    def problem(self) -> SqueezekitError | None:
        try:
            found: SqueezekitError = self._here.recv()
        except EOFError:
            return None
        return found


def _work_there(
    about: tuple[str, str, str, int],
    folder: str,
    number: int,
    report: Connection,
    environment: dict[str, str],
    threads: int,
    networks: dict[str, type[NetworkConfig]],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    # As Ctrl-C, so that Optuna learns of it; training handles it by itself.
    for each in stop_signals():
        signal.signal(each, _stop)
    # A search that is killed must not leave a worker behind that trains on.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    for network, config_class in networks.items():
        register_network(config_class, network)
    plan, storage, name, grace = about
    try:
        Study(StudyPlan.model_validate_json(plan), storage, name, grace).work(Path(folder), number)
    except (KeyboardInterrupt, Interrupted):
        pass
    except SqueezekitError as error:
        report.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
