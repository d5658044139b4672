"""What a compression has done so far, beside the file it will write, so that a kill at any instant loses little."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from squeezekit import durable
from squeezekit.compression.quantised_training import GridWeight
from squeezekit.compression.sqz import Sqz, read_sqz
from squeezekit.errors import SqueezekitError
from squeezekit.networks.weights import read_saved
from squeezekit.training.loop import Trainer


@dataclass(frozen=True)
class Round:
    """A finished round of training: its pressure, the file it gave, and the state of its trainer."""

    pressure: float
    file: Sqz
    state: dict[str, Any]

    def take_up(self, trainer: Trainer, grids: Sequence[GridWeight]) -> None:
        """Let a new trainer begin with the weights that this round ended with."""
        trainer.network.load_state_dict(self.state["network"])
        for grid, hidden in zip(grids, self.state["optimizer"]["hidden"], strict=True):
            grid.hidden.copy_(hidden)
            grid.round()


class Workshop:
    """The folder `FILE.work`: settings, rounded files, rounds, and the checkpoint of a round that goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rounded: list[Sqz] = []
        self.rounds: list[Round] = []
        self.seconds = 0.0

    @classmethod
    def open(cls, out: Path, settings: dict[str, Any], *, resume: bool) -> Workshop:
        """Begin anew, or go on with what the same settings have left; raises SqueezekitError."""
        found = cls(out.with_name(out.name + ".work"))
        if not resume and (out.exists() or found.folder.exists()):
            there = out if out.exists() else found.folder
            raise SqueezekitError(f"{there}: exists already; choose another -o, or go on with --resume")
        if resume and out.exists() and not found.folder.exists():
            raise SqueezekitError(f"{out}: is finished; choose another -o to compress once more")
        if not out.parent.is_dir():
            raise SqueezekitError(f"{out}: cannot be written, since {out.parent} is not a folder; choose another -o")
        place = found.folder / "settings.json"
        if not place.exists():
            found.folder.mkdir(exist_ok=True)
            durable.write_text(place, json.dumps(settings))
        elif json.loads(place.read_text(encoding="utf-8")) != settings:
            raise SqueezekitError(f"{found.folder}: was begun with other settings; delete it to begin anew")
        found._load()
        return found

    def _load(self) -> None:
        count = 0
        while (path := self.folder / f"rounded-{count}.sqz").exists():
            self.rounded.append(read_sqz(path))
            count += 1
        if not (self.folder / "rounded.done").exists():
            self.rounded = []
        while (path := self.folder / f"round-{len(self.rounds)}.pt").exists():
            saved = read_saved(path)
            self.rounds.append(Round(saved["pressure"], read_sqz(path.with_suffix(".sqz")), saved["state"]))
            self.seconds = saved["seconds"]
        if (self.folder / "last.pt").exists():
            self.seconds = read_saved(self.folder / "last.pt")["seconds"]

    def keep_rounded(self, files: Sequence[Sqz]) -> None:
        """All files of rounded weights."""
        for i, file in enumerate(files):
            file.write(self.folder / f"rounded-{i}.sqz")
        durable.write_text(self.folder / "rounded.done", "")
        self.rounded = list(files)

    def keep_round(self, done: Round, seconds: float) -> None:
        """A finished round, after so many seconds of compression."""
        path = self.folder / f"round-{len(self.rounds)}.pt"
        done.file.write(path.with_suffix(".sqz"))
        with durable.replacing(path) as file:
            torch.save({"pressure": done.pressure, "state": done.state, "seconds": seconds}, file)
        (self.folder / "last.pt").unlink(missing_ok=True)
        self.rounds.append(done)

    def keep_checkpoint(self, pressure: float, state: dict[str, Any], seconds: float) -> None:
        """The trainer of the round that goes on."""
        with durable.replacing(self.folder / "last.pt") as file:
            torch.save({"pressure": pressure, "state": state, "seconds": seconds}, file)

    def checkpoint(self, pressure: float) -> dict[str, Any] | None:
        """What was kept of a round under that pressure, or None."""
        path = self.folder / "last.pt"
        if not path.exists():
            return None
        saved = read_saved(path)
        if saved["pressure"] != pressure:
            return None
        state: dict[str, Any] = saved["state"]
        return state

    def clear(self) -> None:
        """Everything is done."""
        shutil.rmtree(self.folder)
