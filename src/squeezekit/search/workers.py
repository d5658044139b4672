"""Worker processes that a study is trained by, and the screen that watches them."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from squeezekit.errors import RunFailed, SqueezekitError
from squeezekit.search.live import LiveTable
from squeezekit.search.plan import Plan
from squeezekit.search.study import Study
from squeezekit.training.watch import Interrupted, stop_requests

LOOK_SECONDS = 0.5


def work(study: Study, folder: Path, jobs: int) -> None:
    """Train everything with so many processes; raises Interrupted when asked to stop, SqueezekitError when none can go on."""
    context = multiprocessing.get_context("spawn")
    workers: list[tuple[BaseProcess, Connection]] = []
    with stop_requests() as stop, LiveTable(study.plan) as live:
        for number in range(jobs):
            here, there = context.Pipe(duplex=False)
            threads = max((os.cpu_count() or 1) // jobs, 1)
            arguments = (
                study.plan.model_dump_json(),
                study.storage,
                study.name,
                study.grace,
                str(folder),
                number,
                threads,
                there,
            )
            process: BaseProcess = context.Process(target=_worker, args=arguments)
            process.start()
            there.close()
            workers.append((process, here))
        while any(process.is_alive() for process, _ in workers):
            if stop.is_set():
                for process, _ in workers:
                    process.terminate()
            live.show(study.rows())
            time.sleep(LOOK_SECONDS)
        live.show(study.rows())
    problems = [problem for _, here in workers if (problem := _received(here))]
    if stop.is_set():
        raise Interrupted("stopped; the same command goes on")
    if problems and not all(row.ended for row in study.rows()):
        raise SqueezekitError(problems[0])
    if any(process.exitcode for process, _ in workers) and not all(row.ended for row in study.rows()):
        raise RunFailed("a worker has died; the same command goes on")


def _received(connection: Connection) -> str:
    """What a worker that has ended had to say."""
    try:
        return str(connection.recv())
    except EOFError:
        return ""


def _worker(plan: str, storage: str, name: str, grace: int, folder: str, number: int, threads: int, report: Connection) -> None:
    torch.set_num_threads(threads)
    try:
        Study(Plan.model_validate_json(plan), storage, name, grace).work(Path(folder), number)
    except (KeyboardInterrupt, Interrupted):
        pass
    except SqueezekitError as error:
        report.send(str(error))
