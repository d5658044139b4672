"""Trials on a Ray cluster: Ray finds the processors, this machine keeps the study and the runs.

A trial is a task that sends its run folder back after every epoch. When its node is lost, the next one is given that folder and
goes on from there. Images must lie at the same path on every node.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch

from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.registry import register_network, registered_networks
from squeezekit.search.plan import StudyPlan
from squeezekit.search.space import Fields
from squeezekit.search.study import Study
from squeezekit.search.trial import OnEpoch, trained_here
from squeezekit.search.workers import watched
from squeezekit.system import atomic_io
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.folder_claim import LOCK
from squeezekit.training.interruption import Interrupted
from squeezekit.training.run_folder import Run

LOOK_SECONDS = 0.2
MOST_LOSSES = 5
# Files that record how far a run is are written after what they record.
LAST_WRITTEN = ("config.toml", "last.pt", "metrics.csv", "summary.json")
Files = Mapping[str, bytes]


def work_on_cluster(study: Study, folder: Path, address: str, jobs: int | None) -> None:
    """Train everything on the Ray cluster at `address` ("auto": that of this machine), `jobs` trials at a time.

    By default there are as many as GPUs, or as nodes where there is none; each has its share of the processors. Raises what
    `work` does.
    """
    # Ray prints what happens to nodes on standard output, until it is left: that is for results.
    with redirect_stdout(sys.stderr):
        ray = _connected(address)
        try:
            jobs, place = _share(ray, jobs)
            watched(study, jobs, lambda number: _Thread(study, folder, number, place))
        finally:
            ray.shutdown()


def _share(ray: Any, jobs: int | None) -> tuple[int, dict[str, Any]]:
    """How many trials at a time, and what each takes of its node."""
    resources = ray.cluster_resources()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = resources.get("GPU", 0)
    jobs = jobs if jobs is not None else int(gpus) or len(nodes)
    # No more than the smallest node has, so that each can have a part.
    cpus = max(1, min(int(resources.get("CPU", 1) // max(jobs, 1)), *(int(node.get("CPU", 1)) for node in nodes)))
    return jobs, {"num_cpus": cpus, "num_gpus": min(1, gpus / max(jobs, 1)), "max_retries": 0}


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise SqueezekitError("--cluster needs Ray; pip install 'squeezekit[ray]'") from None
    try:
        with warnings.catch_warnings():
            # Of what Ray will do in other versions.
            warnings.simplefilter("ignore", FutureWarning)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[0]
        raise SqueezekitError(f"--cluster {address}: no cluster there ({problem}); start one with ray start --head") from None
    return ray


class _Thread:
    """Waits for one task of the cluster after another."""

    def __init__(self, study: Study, folder: Path, number: int, place: dict[str, Any]) -> None:
        self._stop = Event()
        self._problem: SqueezekitError | None = None
        self._study, self._folder, self._number, self._place = study, folder, number, place
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        self._stop.set()

    def problem(self) -> SqueezekitError | None:
        return self._problem

    def _work(self) -> None:
        study, trial = self._study, _Task(self._place, self._stop)
        try:
            own = Study(study.plan, study.storage, study.name, study.grace)
            own.work(self._folder, self._number, trial.trained, self._stop)
        except Interrupted:
            pass
        except Exception as error:
            self._problem = error if isinstance(error, SqueezekitError) else SqueezekitError(str(error) or type(error).__name__)


class _Task:
    """Trains on whichever node has room: what `trained_here` does here."""

    def __init__(self, place: dict[str, Any], stop: Event) -> None:
        self._place, self._stop = place, stop

    def trained(self, plan: StudyPlan, fields: Fields, folder: Path, on_epoch: OnEpoch) -> Run:
        for _ in range(MOST_LOSSES):
            if self._tried(plan, fields, folder, on_epoch):
                return Run(folder)
        raise RunFailed(f"its node was lost {MOST_LOSSES} times; look at the cluster's memory")

    def _tried(self, plan: StudyPlan, fields: Fields, folder: Path, on_epoch: OnEpoch) -> bool:
        """Whether the run is finished: False when its node was lost."""
        import ray
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        epochs = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        remote = ray.remote(_trained_there).options(**self._place)
        about = (plan.model_dump_json(), fields, registered_networks())
        task = remote.remote(*about, files_of(folder), epochs, self._place["num_cpus"])
        try:
            while not ray.wait([task], timeout=LOOK_SECONDS)[0]:
                self._take(epochs, folder, on_epoch)
            files = ray.get(task)
            self._take(epochs, folder, on_epoch)
            write_files(folder, files)
            return True
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError:
            return False
        finally:
            # Ray 2.55 may end this process where a task that is just finished is cancelled.
            if not ray.wait([task], timeout=0)[0]:
                ray.cancel(task, force=True)
            epochs.shutdown(force=True)

    def _take(self, epochs: Any, folder: Path, on_epoch: OnEpoch) -> None:
        if self._stop.is_set():
            raise Interrupted("stopped; the same command goes on")
        while not epochs.empty():
            row, files = epochs.get()
            write_files(folder, files)
            on_epoch(row)


def _trained_there(
    plan: str, fields: Fields, networks: dict[str, type[NetworkConfig]], begun: Files, epochs: Any, threads: int
) -> Files:
    """On a node: the run's files, those of one that was begun given."""
    torch.set_num_threads(threads)
    for network, config_class in networks.items():
        register_network(config_class, network)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        write_files(folder, begun)
        trained_here(StudyPlan.model_validate_json(plan), fields, folder, lambda row: epochs.put((row, files_of(folder))))
        return files_of(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    """A folder's files by their relative paths; none where there is no folder."""
    # Who works there is not for others.
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LOCK)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def write_files(folder: Path, files: Files) -> None:
    """Make or renew a run folder so that after a kill at any instant it can be resumed."""
    for name in sorted(files, key=lambda name: LAST_WRITTEN.index(name) if name in LAST_WRITTEN else -1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_io.write_bytes(path, files[name])
