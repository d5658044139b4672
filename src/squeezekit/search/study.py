"""A study in an Optuna store: a queue of points and the workers that train them, on one machine or many.

Every point is put into the queue once; a worker ends when none waits or runs any more. The trial of a dead worker has no
heartbeat (there is one inside `optimize` only), and is put into the queue again.
"""

from __future__ import annotations

import json
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from squeezekit.data.sources import loaded_once
from squeezekit.search.plan import StudyPlan
from squeezekit.search.results import FIELDS, POINT, SURPLUS, Row, attempts, died, rows_of
from squeezekit.search.space import Fields, Space
from squeezekit.search.trial import Objective, Trains, TrialFailed, trained_here
from squeezekit.system.atomic_io import NotWritten
from squeezekit.system.errors import SqueezekitError

GRACE_SECONDS = 30
# SQLite's clock has whole seconds.
LEAST_GRACE = 3
# In that time.
HEARTBEATS = 6
OPENING_ATTEMPTS = 8
PLAN = "plan"
SAMPLERS_OWN = ("tpe", "nsga2")


class Study:
    """One plan's trials in a store, `sqlite:///…` or `postgresql://…`; raises SqueezekitError when it holds another plan's.

    A worker without a heartbeat for `grace` seconds is dead.
    """

    def __init__(self, plan: StudyPlan, storage: str, name: str, grace: int = GRACE_SECONDS) -> None:
        if grace < LEAST_GRACE:
            raise SqueezekitError(f"--grace {grace}: give at least {LEAST_GRACE}")
        self.plan, self.storage, self.name, self.grace = plan, storage, name, grace
        # When this process first saw a trial without a heartbeat.
        self._first_seen: dict[int, float] = {}
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        _checked(storage)
        _check_is_file(storage)
        with _explained(storage), _damage_named(storage):
            for attempt in range(OPENING_ATTEMPTS):
                try:
                    self._optuna = self._opened()
                    return
                except (IntegrityError, ProgrammingError):
                    # Another machine was making the same tables of a new database.
                    if attempt == OPENING_ATTEMPTS - 1:
                        raise
                    time.sleep(random.uniform(0, 1))

    @classmethod
    def in_folder(cls, folder: Path, plan: StudyPlan, storage: str | None, grace: int) -> Study:
        """The study whose runs are in `folder`, and its store too unless another one is named."""
        return cls(plan, storage or f"sqlite:///{(folder / 'study.db').absolute()}", folder.name, grace)

    def _opened(self) -> optuna.Study:
        opened = optuna.create_study(
            study_name=self.name,
            storage=_store(self.storage, self.grace),
            load_if_exists=True,
            directions=self._directions(),
        )
        stored, own = opened.user_attrs.get(PLAN), _shared(self.plan)
        if stored is None:
            opened.set_user_attr(PLAN, json.dumps(own))
        elif (begun := dict(json.loads(stored))) != own:
            difference = _difference(begun, own)
            raise SqueezekitError(f"study '{self.name}' was begun with {difference}; choose another --out")
        return opened

    def rows(self) -> list[Row]:
        """What became of each point so far."""
        with _explained(self.storage), _damage_named(self.storage):
            return rows_of(self._trials())

    def ended(self) -> bool:
        """Whether nothing is left to do."""
        rows = self.rows()
        return len(rows) == self.plan.trials and all(row.ended for row in rows)

    def fill(self) -> None:
        """Put into the queue what is not in it yet, and what was lost with its worker."""
        with _explained(self.storage), _calm():
            optuna.storages.fail_stale_trials(self._optuna)
            self._fail_never_begun()
            counting = attempts(self._trials())
            for point, drawn in enumerate(self._points):
                lost = counting.get(point)
                if lost is None or died(lost):
                    # The sampler does not draw for it again: its run goes on.
                    known = lost.user_attrs.get(FIELDS) if lost else None
                    again = self._space.encoded(known) if known else drawn
                    # Perhaps twice, when two workers come here at once: the second one is skipped before it trains.
                    self._optuna.enqueue_trial(again, user_attrs={POINT: point})

    @loaded_once()
    def work(self, folder: Path, seed: int = 0, trains: Trains = trained_here, stop: Event | None = None) -> None:
        """Train what waits, until nothing waits or runs or `stop` is set; `folder` is for the runs.

        Raises Interrupted after Ctrl-C.
        """
        objective = Objective(self.plan, folder, trains)
        # Workers must not all draw the same.
        self._optuna.sampler = self._sampler(self.plan.seed + seed)
        self._optuna.pruner = self._pruner()
        self.fill()
        while not (stop and stop.is_set()) and not self.ended():
            with _explained(self.storage), _calm():
                if any(trial.state == TrialState.WAITING for trial in self._trials()):
                    self._next(objective)
                else:
                    time.sleep(1)
            self.fill()

    def _next(self, objective: Objective) -> None:
        try:
            self._optuna.optimize(objective, n_trials=1, catch=(TrialFailed,))
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
            # A worker without a heartbeat for too long counts as dead, and its trial was given to another.
            if isinstance(error, ValueError) and "Cannot tell" not in str(error):
                raise

    def _fail_never_begun(self) -> None:
        """Trials that were taken from the queue and never begun: their worker died before its first heartbeat."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING and not {FIELDS, SURPLUS} & set(trial.user_attrs):
                since = self._first_seen.setdefault(trial.number, time.monotonic())
                if time.monotonic() - since > self.grace:
                    self._optuna.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    @cached_property
    def _space(self) -> Space:
        return self.plan.space_of_trials()

    @cached_property
    def _points(self) -> list[Fields]:
        """What to enqueue, as samplers draw it; empty where a sampler decides when a trial begins."""
        plan, space = self.plan, self._space
        if plan.sampler == "grid":
            return [space.encoded(fields) for fields in space.grid()]
        if plan.sampler in SAMPLERS_OWN:
            return [{}] * plan.trials
        # Drawn beforehand, so that they do not depend on who works when.
        drawing = optuna.create_study(sampler=RandomSampler(seed=plan.seed))
        return [drawing.ask(space.distributions()).params for _ in range(plan.trials)]

    def _trials(self) -> list[FrozenTrial]:
        return self._optuna.get_trials(deepcopy=False)

    def _directions(self) -> list[StudyDirection]:
        return [StudyDirection.MINIMIZE] * (2 if self.plan.sampler == "nsga2" else 1)

    def _sampler(self, seed: int) -> BaseSampler:
        if self.plan.sampler == "tpe":
            # Trials that run elsewhere count as bad, so that two workers look at different places.
            return TPESampler(seed=seed, constant_liar=True)
        if self.plan.sampler == "nsga2":
            # The first generation is drawn at random: of many trials it must not be all.
            return NSGAIISampler(seed=seed, population_size=max(4, min(50, self.plan.trials // 5)))
        return RandomSampler(seed=seed)

    def _pruner(self) -> optuna.pruners.BasePruner:
        # Optuna cannot prune where there are several objectives.
        if self.plan.sampler == "nsga2" or self.plan.pruner == "none":
            return optuna.pruners.NopPruner()
        if self.plan.pruner == "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self.plan.config({}).recipe.epochs)


def _store(url: str, grace: int) -> optuna.storages.RDBStorage:
    # Several processes write into one SQLite file: the later one waits.
    engine = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    with _calm():
        store = optuna.storages.RDBStorage(
            url, engine_kwargs=engine, heartbeat_interval=max(grace // HEARTBEATS, 1), grace_period=grace
        )
    if url.startswith("sqlite"):
        # By itself SQLite lets two workers read that a trial waits, and both take it.
        event.listen(store.engine, "connect", _no_transaction_of_its_own)
        event.listen(store.engine, "begin", _lock_at_once)
        store.engine.dispose()
    return store


def _no_transaction_of_its_own(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _lock_at_once(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _calm() -> Iterator[None]:
    """Heartbeats are an experimental part of Optuna."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _shared(plan: StudyPlan) -> dict[str, Any]:
    """What must be the same on all machines: not the place of the images, nor the device and its speed."""
    content: dict[str, Any] = json.loads(plan.model_dump_json())
    for name in ("data", "device", "fused", "acceleration"):
        content["fields"].pop(name, None)
    return content


def _difference(stored: dict[str, Any], asked: dict[str, Any]) -> str:
    """The first setting that differs, by its own name and not that of the table it stands in."""
    name = next(name for name in {**asked, **stored} if stored.get(name) != asked.get(name))
    begun, now = stored.get(name), asked.get(name)
    if isinstance(begun, dict) and isinstance(now, dict):
        return _difference(begun, now)
    one, other = ("nothing" if value is None else json.dumps(value) for value in (begun, now))
    return f"{name} = {one}, not {other}"


@contextmanager
def _explained(storage: str) -> Iterator[None]:
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, ImportError) as error:
        problem, url = str(error.__cause__ or error).splitlines()[0], _checked(storage)
        if not url.host and url.database:
            raise _of_file(url.database, problem) from None
        if url.password:
            problem = problem.replace(url.password, "…")
        raise SqueezekitError(
            f"--storage {_public(storage)}: cannot be used ({problem}); start its server, or leave it out"
        ) from None


def _of_file(path: str, problem: str) -> SqueezekitError:
    if "disk" in problem and "malformed" not in problem:
        return NotWritten(f"{path}: cannot be written ({problem}); put that right, then give the same command again")
    return SqueezekitError(f"{path}: cannot be used ({problem}); choose another --out, or delete it to start the study anew")


@contextmanager
def _damage_named(storage: str) -> Iterator[None]:
    """What Optuna, or whoever reads what it returns, raises where a store holds what nobody has put there."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise SqueezekitError(
            f"{_public(storage)}: damaged ({type(error).__name__}: {' '.join(str(error).split())[:100]}); "
            "choose another --out, or delete it to start the study anew"
        ) from error


def _check_is_file(storage: str) -> None:
    # SQLite would wait for whoever writes into a pipe.
    url = _checked(storage)
    if not url.host and url.database and (path := Path(url.database)).exists() and not path.is_file():
        raise SqueezekitError(f"{path}: is not a file; choose another --out, or delete it to start the study anew")


def _checked(storage: str) -> URL:
    try:
        return make_url(storage)
    except (ArgumentError, ValueError):
        raise SqueezekitError("--storage: is no address of a database; give one like postgresql://user@host:5432/name") from None


def _public(storage: str) -> str:
    """Host and name alone: passwords may stand in more places than one."""
    url = _checked(storage)
    return f"{url.host}:{url.port}/{url.database}" if url.host else str(url.database)
