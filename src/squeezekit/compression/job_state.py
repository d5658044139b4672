"""What a compression has done so far, beside the file it will write, so that a kill at any instant loses little."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from squeezekit.compression.candidate import Trial
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.weights import read_saved
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError


@dataclass
class Shelf:
    """Trials in the order in which they were made, on disk as `NAME-0.sqz`, `NAME-0.pt`, `NAME-1.sqz` …"""

    folder: Path
    name: str
    trials: list[Trial]
    seconds: float = 0.0

    @classmethod
    def found(cls, folder: Path, name: str) -> Shelf:
        """With what is there."""
        shelf = cls(folder, name, [])
        while (path := shelf.place(len(shelf.trials))).exists():
            saved = read_saved(path)
            shelf.seconds = saved["seconds"]
            file = read_sqz(path.with_suffix(".sqz"))
            shelf.trials.append(Trial(saved["name"], saved["pressure"], file, saved["state"], saved.get("cost")))
        return shelf

    def place(self, number: int) -> Path:
        """Of a trial; it is there only when its file is."""
        return self.folder / f"{self.name}-{number}.pt"

    def keep(self, trial: Trial, seconds: float) -> None:
        """A trial that is finished, after so many seconds of compression."""
        path = self.place(len(self.trials))
        trial.file.write(path.with_suffix(".sqz"))
        with atomic_io.replacing(path) as file:
            about = {"name": trial.name, "pressure": trial.pressure, "state": trial.state, "cost": trial.cost, "seconds": seconds}
            torch.save(about, file)
        self.trials.append(trial)


class JobState:
    """The folder `FILE.work`: settings, roundings, rounds of training, and the checkpoint of a round that goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roundings = Shelf.found(folder, "rounded")
        self.rounds = Shelf.found(folder, "round")
        self.seconds = max(self.roundings.seconds, self.rounds.seconds)
        if self._checkpoint.exists():
            self.seconds = max(self.seconds, read_saved(self._checkpoint)["seconds"])

    @classmethod
    def open(cls, out: Path, settings: dict[str, Any], *, resume: bool) -> JobState:
        """Begin anew, or go on with what the same settings have left; raises SqueezekitError."""
        folder = out.with_name(out.name + ".work")
        if not resume and (out.exists() or folder.exists()):
            there = out if out.exists() else folder
            raise SqueezekitError(f"{there}: exists already; choose another -o, or go on with --resume")
        if resume and out.exists() and not folder.exists():
            raise SqueezekitError(f"{out}: is finished; choose another -o to compress once more")
        if not out.parent.is_dir():
            raise SqueezekitError(f"{out}: cannot be written, since {out.parent} is not a folder; choose another -o")
        place = folder / "settings.json"
        if not place.exists():
            folder.mkdir(exist_ok=True)
            atomic_io.write_text(place, json.dumps(settings))
        elif json.loads(place.read_text(encoding="utf-8")) != settings:
            raise SqueezekitError(f"{folder}: was begun with other settings; delete it to begin anew")
        return cls(folder)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "last.pt"

    @property
    def begun(self) -> bool:
        """Whether a round has been begun and not finished."""
        done = [trial.name for trial in self.rounds.trials]
        return self._checkpoint.exists() and read_saved(self._checkpoint)["name"] not in done

    def keep_checkpoint(self, name: str, state: dict[str, Any], seconds: float) -> None:
        """The trainer of the round that goes on."""
        with atomic_io.replacing(self._checkpoint) as file:
            torch.save({"name": name, "state": state, "seconds": seconds}, file)

    def checkpoint(self, name: str) -> dict[str, Any] | None:
        """What was kept of the round of that name, or None."""
        if not self._checkpoint.exists():
            return None
        saved = read_saved(self._checkpoint)
        state: dict[str, Any] = saved["state"]
        return state if saved["name"] == name else None

    def clear(self) -> None:
        """Everything is done."""
        # At once: half of it would be taken up as the whole.
        aside = self.folder.with_name(self.folder.name + ".done")
        # What an earlier kill left of it.
        shutil.rmtree(aside, ignore_errors=True)
        self.folder.rename(aside)
        shutil.rmtree(aside)
