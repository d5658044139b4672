"""What a compression has done so far, on disk beside the file it will write, so that a kill at any instant loses little."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from squeezekit.compression.candidate import Candidate
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.registry import first_problem
from squeezekit.networks.weights import read_saved
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.folder_claim import held
from squeezekit.system.outside_files import read_outside_json


class _SavedCandidate(BaseModel):
    """A candidate's `.pt` file."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    rate_weight: float
    state: dict[str, Any]
    delta_bytes: int | None
    collapsed: bool
    seconds: float


class _SavedRound(BaseModel):
    """The content of `last.pt`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    epochs: int = Field(ge=1)
    state: dict[str, Any]
    seconds: float


def _read(path: Path, model: type[BaseModel]) -> dict[str, Any]:
    """What a file of tensors and plain data holds, of the shape that `model` says; raises SqueezekitError."""
    try:
        return dict(model.model_validate(read_saved(path)))
    except ValueError as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise SqueezekitError(f"{path}: damaged ({problem}); delete {path.parent} to start anew") from None


def check_output(out: Path, *, resume: bool) -> None:
    """Raises SqueezekitError for other names than FILE.sqz, and for one that is there, with `resume` one that is finished."""
    _check_name(out)
    folder = _folder_of(out)
    if folder.exists():
        if not resume:
            raise SqueezekitError(
                f"{out}: was begun and not finished; go on with --resume, or delete {_all_of(out)} to start anew"
            )
    elif out.exists():
        raise SqueezekitError(f"{out}: {'is finished' if resume else 'exists already'}; choose another --out, or delete it")


def _check_name(out: Path) -> None:
    if out.suffix != ".sqz" or out.is_dir():
        raise SqueezekitError(f"--out {out}: name a file that ends in .sqz")


def _folder_of(out: Path) -> Path:
    return out.with_name(out.name + ".work")


def _all_of(out: Path) -> str:
    return f"{_folder_of(out)}{f' and {out.name}' if out.exists() else ''}"


@contextmanager
def held_output(out: Path) -> Iterator[None]:
    """Hold the file `out` and its job inside the block; raises SqueezekitError where another process does."""
    _check_name(out)
    with held(out.with_name(f".{out.name}.in-use"), out):
        yield


def _differences(began: Any, settings: Mapping[str, Any]) -> str:
    """How the settings that are others now were given; "" where all are the same."""
    if not isinstance(began, dict) or began.keys() != settings.keys():
        return "with other settings"
    return " and ".join(_given(name, began[name]) for name, value in settings.items() if began[name] != value)


def _given(name: str, value: Any) -> str:
    flag = "run" if name == "run" else f"--{name.replace('_', '-')}"
    if value is None:
        return f"without {flag}"
    # Of networks and files the settings hold digests, which tell nobody anything.
    return f"with another {flag}" if name in ("run", "teacher", "delta_from") else f"with {flag} {value}"


def kept(place: Path) -> AbstractContextManager[None]:
    """Raises NotWritten, which names `place`, where a file of a job cannot be written inside."""
    return atomic_io.kept(place, "go on with the same command and --resume")


@dataclass
class CandidateStore:
    """Candidates in the order in which they were made, on disk as `NAME-0.sqz`, `NAME-0.pt`, `NAME-1.sqz` …

    `seconds` is how long the compression had taken when the last one was added.
    """

    folder: Path
    name: str
    candidates: list[Candidate]
    seconds: float = 0.0

    @classmethod
    def load(cls, folder: Path, name: str) -> CandidateStore:
        """The store with what is in the folder."""
        store = cls(folder, name, [])
        while (path := store.path(len(store.candidates))).exists():
            saved, file = _read(path, _SavedCandidate), read_sqz(path.with_suffix(".sqz"))
            if not file.stages:
                raise SqueezekitError(
                    f"{path.with_suffix('.sqz')}: does not say how accurate it is; delete {folder} to start anew"
                )
            store.seconds = saved.pop("seconds")
            store.candidates.append(Candidate(file=file, **saved))
        return store

    def path(self, number: int) -> Path:
        """The `.pt` file of a candidate, which exists only where its `.sqz` file does."""
        return self.folder / f"{self.name}-{number}.pt"

    def add(self, candidate: Candidate, seconds: float) -> None:
        """Save a finished candidate; `seconds` is how long the compression has taken."""
        path = self.path(len(self.candidates))
        saved = {name: value for name, value in vars(candidate).items() if name != "file"}
        with kept(self.folder):
            candidate.file.write(path.with_suffix(".sqz"))
            with atomic_io.replacing(path) as file:
                torch.save({**saved, "seconds": seconds}, file)
        self.candidates.append(candidate)


class JobState:
    """The folder `FILE.work`: settings, candidates without and with training, and the checkpoint of the present round."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ptq = CandidateStore.load(folder, "ptq")
        self.rounds = CandidateStore.load(folder, "round")
        seconds = max(self.ptq.seconds, self.rounds.seconds)
        if self.checkpoint_file.exists():
            seconds = max(seconds, _read(self.checkpoint_file, _SavedRound)["seconds"])
        self._begin = time.monotonic() - seconds

    @classmethod
    def open(cls, out: Path, settings: dict[str, Any], *, resume: bool) -> JobState:
        """Start anew, or with `resume` go on with what the same settings have left; raises SqueezekitError."""
        check_output(out, resume=resume)
        folder = _folder_of(out)
        path = folder / "settings.json"
        if not path.exists():
            with kept(folder):
                folder.mkdir(exist_ok=True)
                atomic_io.write_text(path, json.dumps(settings))
        elif changed := _differences(read_outside_json(path), settings):
            raise SqueezekitError(f"{out}: was begun {changed}; give the same, or delete {_all_of(out)} to start anew")
        return cls(folder)

    @property
    def checkpoint_file(self) -> Path:
        """What `save_checkpoint` writes; a training names it where it cannot go on from it."""
        return self.folder / "last.pt"

    @property
    def candidates(self) -> list[Candidate]:
        """All of them, those without training first."""
        return [*self.ptq.candidates, *self.rounds.candidates]

    @property
    def round_started(self) -> bool:
        """Whether a round has been started and not finished."""
        return self.epochs_of_started_round is not None

    @property
    def epochs_of_started_round(self) -> int | None:
        """How many epochs a round has that has been started and not finished; None where there is none."""
        if not self.checkpoint_file.exists():
            return None
        saved = _read(self.checkpoint_file, _SavedRound)
        return None if saved["name"] in [candidate.name for candidate in self.rounds.candidates] else int(saved["epochs"])

    def elapsed(self) -> float:
        """Seconds of compression, those before it was stopped included."""
        return time.monotonic() - self._begin

    def save_checkpoint(self, name: str, state: dict[str, Any], epochs: int) -> None:
        """Save the trainer's state of the present round, which has so many epochs."""
        with kept(self.folder), atomic_io.replacing(self.checkpoint_file) as file:
            torch.save({"name": name, "epochs": epochs, "state": state, "seconds": self.elapsed()}, file)

    def checkpoint(self, name: str) -> dict[str, Any] | None:
        """The trainer's state of the round of that name, if it has been saved."""
        if not self.checkpoint_file.exists():
            return None
        saved = _read(self.checkpoint_file, _SavedRound)
        state: dict[str, Any] = saved["state"]
        return state if saved["name"] == name else None

    def clear(self) -> None:
        """Delete the folder, when the file is written."""
        # Renamed first: half of a folder would be resumed as if it were whole.
        aside = self.folder.with_name(self.folder.name + ".done")
        # An earlier kill may have left one.
        shutil.rmtree(aside, ignore_errors=True)
        self.folder.rename(aside)
        shutil.rmtree(aside)
