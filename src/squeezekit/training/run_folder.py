"""The run folder: everything about one training, written so that a kill at any instant loses nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import platform
import shlex
import statistics
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from squeezekit.data.sources import in_memory, settled
from squeezekit.data.splits import Split
from squeezekit.networks.registry import first_problem, registered_networks
from squeezekit.networks.weights import read_saved
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes, read_outside_toml
from squeezekit.system.paths import anchored
from squeezekit.system.valid_json import as_json
from squeezekit.system.version import version
from squeezekit.training.device import chosen_device
from squeezekit.training.measurement import Measurement
from squeezekit.training.progress import METRICS, Progress
from squeezekit.training.run_files import MOST_BYTES_OF_WEIGHTS, read_facts, read_split, read_summary
from squeezekit.training.run_presentation import RunPresentation
from squeezekit.training.settings import RunConfig, RunSettings, read_config, read_tables, table_of

# Where runs are that were given no folder.
RUNS = Path("runs")
# Weights that training starts from, unless they are random.
START = "start.safetensors"
# The last layer of a teacher that was fitted to the images of the run.
TEACHER_HEAD = "teacher_head.safetensors"


class Run(RunPresentation):
    """A run folder.

    `last.pt` is the one source of truth during training; the other files follow from it and are written
    again on resuming. Files: config.toml, data.json, split.npz, metrics.csv, tensorboard/, best.safetensors,
    last.pt, summary.json, start.safetensors where training started from another network, and
    teacher_head.safetensors where a teacher had to learn the classes first.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder that holds a run; raises SqueezekitError."""
        if not (folder / "config.toml").is_file():
            raise SqueezekitError(f"{folder}: not a run folder (config.toml is missing); give one that train has made")
        self.folder = folder
        self.config = read_config(folder / "config.toml")

    @classmethod
    def create(
        cls,
        folder: Path,
        config: RunConfig,
        data: dict[str, Any],
        split: Split,
        start: Mapping[str, Tensor] | None = None,
        teacher_head: Mapping[str, Tensor] | None = None,
    ) -> Run:
        """Make the folder of a new run: `data` is the content of `data.json`, `start` are weights to start from."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_io.kept(folder, "give the same command again"):
                with atomic_io.replacing(folder / "split.npz") as file:
                    np.savez_compressed(
                        file, training=split.training.astype(np.int32), validation=split.validation.astype(np.int32)
                    )
                atomic_io.write_text(folder / "data.json", as_json(data, indent=2) + "\n")
                for name, weights in ((START, start), (TEACHER_HEAD, teacher_head)):
                    if weights:
                        atomic_io.write_bytes(folder / name, save({key: each.contiguous() for key, each in weights.items()}))
                # Last, since a folder with config.toml is a run.
                atomic_io.write_text(folder / "config.toml", config.to_toml())
        except BaseException:
            for name in ("split.npz", "data.json", START, TEACHER_HEAD):
                (folder / name).unlink(missing_ok=True)
            raise
        return cls(folder)

    @property
    def data(self) -> dict[str, Any]:
        """`source`, `classes`, `fingerprint` and the like of the images trained on."""
        return read_facts(self.folder / "data.json", self.config.network.classes)

    def weights_digest(self) -> str:
        """SHA-256 of the best weights, in hex; raises SqueezekitError."""
        return hashlib.sha256(self._weights()).hexdigest()

    def _weights(self) -> bytes:
        path = self.folder / "best.safetensors"
        if not path.exists():
            raise SqueezekitError(f"{self.folder}: has no weights yet; let its training finish an epoch")
        return read_outside_bytes(path, MOST_BYTES_OF_WEIGHTS)

    @property
    def start_weights(self) -> Path | None:
        """The file of weights that training starts from, if any."""
        if (self.folder / START).exists():
            return self.folder / START
        # A run of version 0.1 names a file of the user's instead.
        named = read_outside_toml(self.folder / "config.toml")["run"].get("weights")
        return Path(named) if named else None

    @property
    def teacher_head(self) -> Path | None:
        """The file of the last layer that its teacher was given, if any."""
        path = self.folder / TEACHER_HEAD
        return path if path.exists() else None

    @property
    def resume_command(self) -> str:
        """What a user types to go on with it."""
        own = self.config.network.name in registered_networks()
        if own or in_memory(self.config.run.data):
            return f"the same call of train with out={str(self.folder)!r}, resume=True"
        return shlex.join(["squeezekit", "train", "--resume", "--out", as_argument(self.folder)])

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Of the training images (validation included) and of the test images."""
        data = self.data
        return data["fingerprint"], data["test_fingerprint"]

    @property
    def summary(self) -> dict[str, Any] | None:
        """The results of a finished run."""
        return read_summary(self.folder / "summary.json") if (self.folder / "summary.json").exists() else None

    @property
    def split(self) -> Split:
        """Which images trained and which validated, of as many as there may be; see `split_of`."""
        return read_split(self.folder / "split.npz")

    def split_of(self, images: int) -> Split:
        """Which of that many images trained and which validated; raises SqueezekitError where it names others."""
        split = self.split
        if np.concatenate([split.training, split.validation]).max() >= images:
            raise SqueezekitError(f"{self.folder / 'split.npz'}: damaged (there are only {images:,} images); train again")
        return split

    def network(self) -> nn.Module:
        """The network with its best weights, ready for use."""
        path, given = self.folder / "best.safetensors", self._weights()
        network = self.config.network.build()
        if not hasattr(network, "config"):
            network.config = self.config.network  # type: ignore[assignment]  # which `compress` asks for
        try:
            network.load_state_dict(load(given))
        except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            problem = " ".join(str(error).split())[:200]
            raise SqueezekitError(f"{path}: cannot be loaded ({problem}); let the training finish an epoch") from None
        return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def checkpoint(self) -> dict[str, Any] | None:
        """What `save_checkpoint` wrote last, or None."""
        path = self.folder / "last.pt"
        if not path.exists():
            return None
        try:
            return read_saved(path)  # type: ignore[no-any-return]
        except ValueError as error:
            raise SqueezekitError(f"{path}: damaged ({error}); delete it to start this run over") from None

    def save_checkpoint(self, state: dict[str, Any], history: list[dict[str, float]], best: dict[str, Tensor]) -> None:
        """Keep the state to go on from, then what follows from it."""
        with self._kept():
            with atomic_io.replacing(self.folder / "last.pt") as file:
                torch.save(state, file)
            self.write_metrics(history)
            if best:
                self.write_best(best)

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """One row an epoch."""
        text = io.StringIO()
        writer = csv.DictWriter(text, METRICS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        atomic_io.write_text(self.folder / "metrics.csv", text.getvalue())

    def write_best(self, weights: dict[str, Tensor]) -> None:
        """The best weights so far. Equal weights give equal files: one metadata key, no times, no paths."""
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        metadata = {"squeezekit": self.config.network.model_dump_json()}
        atomic_io.write_bytes(self.folder / "best.safetensors", save(contiguous, metadata))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """The results, with which the run is finished."""
        with self._kept():
            atomic_io.write_text(self.folder / "summary.json", as_json(summary, indent=2) + "\n")

    def _kept(self) -> AbstractContextManager[None]:
        return atomic_io.kept(self.folder, f"go on with: {self.resume_command}")


def as_argument(path: Path) -> str:
    """A path that a command takes for itself: neither for a flag nor for somebody's home folder."""
    return f"./{path}" if str(path).startswith(("-", "~")) else str(path)


def check_can_be_made(folder: Path, data: str | None) -> None:
    """Before hours of work: whether there is a place for a run folder, outside of the folder `data`; raises SqueezekitError."""
    pictures = Path(settled(data)) if data and not in_memory(data) else None
    if pictures and pictures.is_dir() and folder.resolve().is_relative_to(pictures.resolve()):
        raise SqueezekitError(f"{folder}: would lie among the pictures of --data {data}; name an --out outside of that folder")
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise SqueezekitError(f"{folder}: cannot be made, since {nearest} is not a folder to write in; choose another --out")


def remove_leftovers(folder: Path) -> None:
    """What a killed process was writing."""
    for left_behind in folder.glob(".*.partial"):
        left_behind.unlink(missing_ok=True)


def resumed(folder: Path, *, network: str | None, recipe: str | None, config: Path | None, fields: Mapping[str, Any]) -> Run:
    """The run in `folder`, to go on with; it keeps its settings, and what is given a second time must be what it has.

    `device` and `acceleration`, and files and folders that have moved, may be given anew. Raises SqueezekitError when a name,
    the file or another field asks for something else.
    """
    run = Run(folder)
    presets = {"network": network, "recipe": recipe}
    fields = dict(fields)
    tables = read_tables(config) if config else {}
    for table, given in tables.items():
        presets[table] = presets.get(table) or given.pop("name", None)
        fields = {**given, **fields}
    for table in ("network", "recipe"):
        begun, asked = getattr(run.config, table).name, presets[table]
        if asked and asked != begun:
            raise SqueezekitError(f"{folder} was begun with --{table} {begun}, not {asked}; start a new run for that")
    anew = ("data", "device", "teacher", "unlabelled", "acceleration", "labels", "leave_out")
    now = {name: fields.pop(name) for name in anew if name in fields}
    for name, value in fields.items():
        _check(run, name, value)
    run.config = _with(run.config, **now)
    return run


def _check(run: Run, name: str, value: Any) -> None:
    part: BaseModel = getattr(run.config, table_of(name, type(run.config.network)))
    has = getattr(part, name)
    if name == "precision" and value == "auto":
        value = has
    try:
        asked = getattr(type(part).model_validate({**part.model_dump(), name: value}), name)
    except ValidationError as error:
        raise SqueezekitError(first_problem(error)) from None
    if asked != has:
        raise SqueezekitError(f"{run.folder} was begun with {name} = {has}; start a new run to change it")


def _with(
    config: RunConfig,
    *,
    data: str | None = None,
    device: str = "auto",
    teacher: str | None = None,
    unlabelled: str | None = None,
    acceleration: str | None = None,
    **files: str,
) -> RunConfig:
    for flag, given, has in (("teacher", teacher, config.run.teacher), ("unlabelled", unlabelled, config.run.unlabelled)):
        if given and not has:
            raise SqueezekitError(f"--{flag} {given}: the run was begun without one; start a new run for that")
    place = {
        "teacher": anchored(teacher) if teacher else config.run.teacher,
        "unlabelled": settled(unlabelled) if unlabelled else config.run.unlabelled,
        "data": settled(data) if data else config.run.data,
        "device": str(chosen_device(config.run.device if device == "auto" else device)),
        "acceleration": config.run.acceleration if acceleration is None else acceleration,
        **{name: settled(path) for name, path in files.items()},
    }
    try:
        run = RunSettings.model_validate({**config.run.model_dump(), **place})
    except ValidationError as error:
        raise SqueezekitError(first_problem(error)) from None
    return config.model_copy(update={"run": run})


def summarised(
    run: Run,
    *,
    progress: Progress,
    best_epoch: int,
    parameters: int,
    class_images: list[int],
    validation: Measurement | None,
    test: Measurement | None,
) -> dict[str, Any]:
    """The content of `summary.json`.

    `seconds` is all of the training, validation after each epoch included; `images_per_s` an epoch's training alone;
    `class_images` how many images of each class have trained.
    """
    history = progress.history
    return {
        "run": str(run.folder),
        "network": run.config.network.name,
        "recipe": run.config.recipe.name,
        "parameters": parameters,
        "class_images": class_images,
        "epochs": len(history),
        "best_epoch": best_epoch,
        "seconds": history[-1]["seconds"],
        "images_per_s": statistics.median(row["images_per_s"] for row in history),
        "untrained_loss": progress.untrained_loss,
        **({"validation": vars(validation)} if validation else {}),
        **({"test": vars(test)} if test else {}),
        "data": run.data["source"],
        "fingerprint": run.data["fingerprint"],
        "precision": run.config.recipe.precision,
        "versions": {
            "squeezekit": version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "commit": _commit(Path(__file__).parents[3]),
    }


def _commit(root: Path) -> str | None:
    """The commit that squeezekit runs from, `-dirty` behind it when files have changed; None when it is installed."""
    if not (root / ".git").exists() or not (root / "src" / "squeezekit").is_dir():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
