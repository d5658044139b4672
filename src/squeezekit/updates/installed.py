"""What a device has: the model it uses, the one before, and what it knows of them.

    FOLDER/model.sqz       the model to use
    FOLDER/previous.sqz    the one before
    FOLDER/state.json      which version that is, what is being tried, what was refused
    FOLDER/metadata/       what the repository has signed, as far as it is verified
    FOLDER/incoming/       what has been fetched of the next version

Every write replaces a whole file in one step, so that a power cut at any instant leaves the old model or the new one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from squeezekit import durable
from squeezekit.errors import RunFailed, SqueezekitError
from squeezekit.updates.trial import SECONDS, problem

# A check may die of a power cut, which is not the model's fault; twice is.
MOST_TRIALS = 2
MOST_REFUSED = 32


class Refused(BaseModel):
    """A model that this device will not take, by its digest, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    version: int
    reason: str


class State(BaseModel):
    """What is known of the model in use: `sha256` is that of the file that `channel` and `version` are said of.

    `trying` is the digest of a model whose check has begun, `trials` how often it has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: str = ""
    version: int = 0
    sha256: str = ""
    trying: str = ""
    trials: int = 0
    refused: tuple[Refused, ...] = Field((), max_length=MOST_REFUSED)


class Installed:
    """The folder; making one repairs what a kill has left half done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.previous = folder / "model.sqz", folder / "previous.sqz"
        self.incoming, self.metadata = folder / "incoming", folder / "metadata"
        for each in (folder, self.incoming, self.metadata):
            each.mkdir(parents=True, exist_ok=True)
        self.state = self._read_state()

    def data(self) -> bytes:
        """The model in use; empty where there is none."""
        return self.model.read_bytes() if self.model.exists() else b""

    def version(self) -> int:
        """Of the model in use; 0 if it is not known."""
        return self.state.version if digest(self.data()) == self.state.sha256 else 0

    def know(self, channel: str, version: int, sha256: str) -> None:
        """Note which version the model in use is; a check of it that was begun has done its work."""
        known = {"channel": channel, "version": version, "sha256": sha256, "trying": "", "trials": 0}
        if (found := self.state.model_copy(update=known)) != self.state:
            self._write(found)

    def refused(self, sha256: str) -> Refused | None:
        """Whether a model was refused before."""
        return next((each for each in self.state.refused if each.sha256 == sha256), None)

    def install(self, data: bytes, channel: str, version: int, *, seconds: float = SECONDS) -> None:
        """Check a model in a process of its own, then put it in the place of the one in use; raises RunFailed if it is unfit.

        Until the last step the old model is in its place; a model that fails, or whose check dies twice, is not tried again.
        """
        sha256, candidate = digest(data), self.incoming / "candidate.sqz"
        begun = self.state.trials if self.state.trying == sha256 else 0
        if begun >= MOST_TRIALS:
            self._refuse(sha256, version, f"its check did not end, {begun} times")
        durable.write_bytes(candidate, data)
        self._write(self.state.model_copy(update={"trying": sha256, "trials": begun + 1}))
        if reason := problem(candidate, seconds):
            candidate.unlink()
            self._refuse(sha256, version, reason)
        if old := self.data():
            durable.write_bytes(self.previous, old)
        # Before the model, so that its version is known from the first instant; until then the digest says that it is another's.
        self.know(channel, version, sha256)
        durable.move(candidate, self.model)

    def go_back(self) -> None:
        """Use the model before again, and refuse the one in use from now on."""
        if not self.previous.exists():
            raise SqueezekitError(f"{self.folder}: has no version before the one in use")
        data, previous = self.data(), self.previous.read_bytes()
        if data and digest(data) != digest(previous):
            refused = Refused(sha256=digest(data), version=self.version(), reason="it was taken back by hand")
            self._write(self.state.model_copy(update={"refused": self._with(refused)}))
        durable.write_bytes(self.model, previous)

    def _refuse(self, sha256: str, version: int, reason: str) -> None:
        refused = Refused(sha256=sha256, version=version, reason=reason)
        self._write(self.state.model_copy(update={"trying": "", "trials": 0, "refused": self._with(refused)}))
        raise RunFailed(said(refused, self.version()))

    def _with(self, refused: Refused) -> tuple[Refused, ...]:
        others = [each for each in self.state.refused if each.sha256 != refused.sha256]
        return (*others, refused)[-MOST_REFUSED:]

    def _write(self, state: State) -> None:
        durable.write_text(self.folder / "state.json", state.model_dump_json(indent=1) + "\n")
        self.state = state

    def _read_state(self) -> State:
        path = self.folder / "state.json"
        try:
            return State.model_validate_json(path.read_bytes()) if path.exists() else State()
        except ValidationError:
            # Nothing in it is needed to go on: the model is, and what is trusted lies in metadata.
            return State()


def said(refused: Refused, current: int) -> str:
    """What a user is told of a refusal."""
    stays = f"version {current} stays in use" if current else "the model in use stays"
    return f"version {refused.version} is refused: {refused.reason}; {stays}"


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
