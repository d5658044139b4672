"""Worker processes that a study is trained by, and the screen that watches them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import torch

from squeezekit.errors import RunFailed, SqueezekitError
from squeezekit.search.live import LiveTable
from squeezekit.search.plan import Plan
from squeezekit.search.study import Study
from squeezekit.training.watch import Interrupted, stop_requests

LOOK_SECONDS = 0.5


def work(study: Study, folder: Path, jobs: int) -> None:
    """Train everything with so many processes; raises Interrupted when asked to stop, SqueezekitError when none can go on."""
    if jobs < 1:
        raise SqueezekitError(f"--jobs {jobs}: give at least 1")
    study.fill()
    workers = [_started(study, folder, number, jobs) for number in range(jobs)]
    stopping = False
    with stop_requests() as stop, LiveTable(study.plan) as live:
        try:
            while any(process.is_alive() for process, _ in workers):
                if stop.is_set() and not stopping:
                    stopping = True
                    _end(workers)
                live.show(study.rows())
                time.sleep(LOOK_SECONDS)
            live.show(study.rows())
        finally:
            if not stopping:
                _end(workers)
    problems = [problem for _, here in workers if (problem := _received(here))]
    if study.ended():
        return
    # Workers may have heard Ctrl-C themselves, and have ended before they could be told.
    if stop.is_set():
        raise Interrupted("stopped; the same command goes on")
    if problems:
        raise SqueezekitError(problems[0])
    raise RunFailed("a worker has ended before its time; the same command goes on")


def _started(study: Study, folder: Path, number: int, jobs: int) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    threads = max((os.cpu_count() or 1) // jobs, 1)
    about = (study.plan.model_dump_json(), study.storage, study.name, study.grace)
    process = context.Process(target=_worker, args=(about, str(folder), number, threads, there))
    process.start()
    there.close()
    return process, here


def _end(workers: Sequence[tuple[BaseProcess, Connection]]) -> None:
    """Ask those that still work to put their trials away."""
    for process, _ in workers:
        if process.is_alive():
            process.terminate()


def _received(connection: Connection) -> str:
    """What a worker that has ended had to say."""
    try:
        return str(connection.recv())
    except EOFError:
        return ""


def _worker(about: tuple[str, str, str, int], folder: str, number: int, threads: int, report: Connection) -> None:
    # As Ctrl-C, so that Optuna hears of it; while it trains, training itself listens.
    signal.signal(signal.SIGTERM, _stop)
    torch.set_num_threads(threads)
    plan, storage, name, grace = about
    try:
        Study(Plan.model_validate_json(plan), storage, name, grace).work(Path(folder), number)
    except (KeyboardInterrupt, Interrupted):
        pass
    except SqueezekitError as error:
        report.send(str(error))


def _stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
