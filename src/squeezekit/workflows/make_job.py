"""What `make` has done so far, on disk in the folder it writes, so that the same command goes on where it was stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from squeezekit.networks.registry import first_problem
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.folder_claim import holds_files
from squeezekit.system.outside_files import read_outside_json

Step = Literal["check", "train", "compress", "export", "report"]
Platform = Literal["browser", "arduino", "pi", "server", "onnx"]


class MakeSettings(BaseModel):
    """What must be the same when a job goes on; paths are absolute, "" for none. `pictures` is a digest of what there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    max_bytes: int
    minutes: float
    platform: Platform
    labels: str
    group_by: str
    leave_out: str
    teacher: str = ""
    unlabelled: str = ""
    pictures: str = ""


class Accuracy(BaseModel):
    """The share 0…1 of test `images` that were answered rightly, with its 95 % interval (Wilson, 1927)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float
    low: float
    high: float
    images: int


class _Done(BaseModel):
    """The content of `make.json`: seconds of each step that is done, and what came of it."""

    model_config = ConfigDict(extra="forbid")

    settings: MakeSettings
    seconds: dict[Step, float] = {}
    findings: tuple[str, ...] = ()
    compression_minutes: float | None = None
    accuracy: Accuracy | None = None


class MakeJob:
    """The job of a folder. Raises SqueezekitError for a folder of something else, and for steps done with other settings."""

    def __init__(self, folder: Path, settings: MakeSettings) -> None:
        self.file = folder / "make.json"
        if not self.file.exists():
            if holds_files(folder):
                raise SqueezekitError(f"{folder}: exists already and was not made by make; choose another --out")
            self._done = _Done(settings=settings)
        else:
            self._done = self._read()
            changed = [name for name, value in self._done.settings if value != getattr(settings, name)]
            if changed and self._done.seconds:
                name, began = changed[0], getattr(self._done.settings, changed[0])
                if name == "pictures":
                    raise SqueezekitError(
                        f"{settings.data}: has other pictures or labels than when {folder} was begun; choose another --out"
                    )
                raise SqueezekitError(f"{folder}: was begun with {name} = {began}; give the same command, or another --out")
            self._done = self._done.model_copy(update={"settings": settings})
        self._begin = time.monotonic()

    def _read(self) -> _Done:
        try:
            return _Done.model_validate(read_outside_json(self.file))
        except ValidationError as error:
            raise SqueezekitError(f"{self.file}: damaged ({first_problem(error)}); choose another --out") from None

    @property
    def seconds(self) -> dict[str, float]:
        """Of each step that is done."""
        return dict(self._done.seconds.items())

    @property
    def findings(self) -> tuple[str, ...]:
        """What the look at the pictures found, in sentences."""
        return self._done.findings

    @property
    def compression_minutes(self) -> float | None:
        """How long to compress, where that is decided already."""
        return self._done.compression_minutes

    @property
    def accuracy(self) -> Accuracy | None:
        """On the test images, where it is measured already."""
        return self._done.accuracy

    def elapsed(self) -> float:
        """Seconds of all steps that are done and of the present one."""
        return sum(self._done.seconds.values()) + time.monotonic() - self._begin

    def begin(self) -> None:
        """The clock of a step starts."""
        self._begin = time.monotonic()

    def keep(self, **found: object) -> None:
        """Write down what was found or decided."""
        self._done = self._done.model_copy(update=found)
        with atomic_io.kept(self.file.parent, "give the same command again"):
            atomic_io.write_text(self.file, self._done.model_dump_json(indent=2) + "\n")

    def done(self, step: Step, *, seconds: float = 0.0, **found: object) -> None:
        """A step is done, in `seconds` if that is more than this process has seen of it; the next one begins."""
        taken = round(max(time.monotonic() - self._begin, seconds), 1)
        self.keep(seconds={**self._done.seconds, step: taken}, **found)
        self._begin = time.monotonic()
