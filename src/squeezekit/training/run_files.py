"""What the files of a run folder may hold: somebody else may have written them, and a disk may have damaged them."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from squeezekit.data.splits import Split
from squeezekit.networks.registry import first_problem
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes, read_outside_json
from squeezekit.training.settings import Name

MOST_BYTES_OF_WEIGHTS, MOST_BYTES_OF_SPLIT = 2**33, 2**28
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Content(BaseModel):
    # Later versions may add to it.
    model_config = ConfigDict(strict=True, extra="allow")


class RunFacts(_Content):
    """The content of `data.json`."""

    source: Name
    classes: list[Name] = Field(min_length=2)
    fingerprint: str
    test_fingerprint: str


class RunResult(_Content):
    """A measurement in `summary.json`; null stands for a loss that was no number."""

    accuracy: Fraction
    balanced_accuracy: Fraction
    loss: float | None
    # Not in those of the first weeks.
    loss_error: float | None = None
    images: int = Field(0, ge=0)


class RunSummary(_Content):
    """The content of `summary.json`."""

    network: str
    recipe: str
    parameters: int = Field(ge=0)
    # Not in those of version 0.1.
    class_images: list[int] = []
    epochs: int = Field(ge=1)
    best_epoch: int = Field(ge=0)
    seconds: float
    images_per_s: float
    untrained_loss: float | None
    # Not where all images trained.
    validation: RunResult | None = None
    test: RunResult | None = None
    data: str
    fingerprint: str
    precision: str
    versions: dict[str, str]
    commit: str | None = None


def read_facts(path: Path, classes: int) -> dict[str, Any]:
    """`data.json` of a run whose network tells so many classes apart; raises SqueezekitError."""
    content = _read(path, RunFacts)
    named = len(set(content["classes"]))
    if named != len(content["classes"]) or named != classes:
        raise SqueezekitError(f"{path}: names {named} different classes, but the network has {classes}; train again")
    return content


def read_summary(path: Path) -> dict[str, Any]:
    """`summary.json`; a loss that JSON had no number for is NaN again. Raises SqueezekitError."""
    content = _read(path, RunSummary)
    for part in (content, content.get("validation") or {}, content.get("test") or {}):
        for name in ("untrained_loss", "loss", "loss_error"):
            if name in part and part[name] is None:
                part[name] = math.nan
    return content


def _read(path: Path, model: type[_Content]) -> dict[str, Any]:
    content = read_outside_json(path)
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise SqueezekitError(f"{path}: damaged ({first_problem(error)}); train again") from None
    return dict(content)


def read_split(path: Path) -> Split:
    """`split.npz`: two lists of different indices; raises SqueezekitError."""
    try:
        with zipfile.ZipFile(io.BytesIO(read_outside_bytes(path, MOST_BYTES_OF_SPLIT))) as archive:
            split = Split(_indices(archive, "training", fewest=1), _indices(archive, "validation", fewest=0))
        everything = np.concatenate([split.training, split.validation])
        if everything.min() < 0 or len(np.unique(everything)) < len(everything):
            raise ValueError("an index is negative, or there twice")
    # What the readers of zip files and of arrays raise when something is not as they expect.
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise SqueezekitError(f"{path}: damaged ({' '.join(str(error).split())}); train again") from None
    return split


def _indices(archive: zipfile.ZipFile, name: str, *, fewest: int) -> NDArray[np.int64]:
    """Integers [n], n ≥ `fewest`, as `np.savez` writes them; memory is taken for what is there, whatever its head says."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > MOST_BYTES_OF_SPLIT:
        raise ValueError(f"'{name}' has {member.file_size:,} bytes, which no list of images needs")
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"'{name}' is of another version")
        shape, _, kind = np.lib.format.read_array_header_1_0(file)
        if len(shape) != 1 or shape[0] < fewest or kind.kind not in "iu":
            raise ValueError(f"'{name}' is not a list of indices")
        return np.frombuffer(file.read(), kind, count=shape[0]).astype(np.int64)
