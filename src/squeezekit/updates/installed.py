"""What a device has: the model it uses, the one before, and what it knows of them.

In its folder lie:

- model.sqz: the model to use
- previous.sqz: the one before
- state.json: which versions these are, what is being tried, what was refused
- trusted.json: the newest root that this device has verified
- metadata: what the repository has signed, as far as it is verified
- incoming: what has been fetched of the next version

Every write replaces a whole file in one step, so that a power cut at any instant leaves the old model or the new one.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from squeezekit.system import atomic_io
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.updates.self_check_trial import SECONDS, tried

# A check may die of a power cut, or for want of memory, which is not the model's fault; twice is.
MOST_TRIALS = 2
MOST_REFUSED = 32
# The model in use, the one before, and one whose place is being taken.
MOST_KNOWN = 3


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Version(_Data):
    """Of a model, in a channel; `root` is the version of the root that it was verified by."""

    channel: str
    number: int
    root: int


class Refused(_Data):
    """A model that this device will not take, by its digest, and why."""

    sha256: str
    version: int
    reason: str


class State(_Data):
    """What is known of the models here, by their digests.

    `trying` is the digest of a model whose check has begun, `trials` how often it has; `origin` that of the root.json that this
    device was given.
    """

    known: dict[str, Version] = {}
    trying: str = ""
    trials: int = 0
    origin: str = ""
    refused: tuple[Refused, ...] = Field((), max_length=MOST_REFUSED)


class Installed:
    """The folder, which must be there; one process at a time may change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.previous = folder / "model.sqz", folder / "previous.sqz"
        self.trusted, self.metadata, self.incoming = folder / "trusted.json", folder / "metadata", folder / "incoming"
        for each in (self.incoming, self.metadata):
            each.mkdir(parents=True, exist_ok=True)
        # What a kill has left of files that were being replaced.
        for left in (*folder.glob(".*.partial"), *self.metadata.glob(".*.partial")):
            left.unlink(missing_ok=True)
        self.state = self._read_state()

    def data(self) -> bytes:
        """The model in use; empty where there is none."""
        return self.model.read_bytes() if self.model.exists() else b""

    def version(self) -> Version | None:
        """Of the model in use, if it is known."""
        return self.state.known.get(digest(self.data()))

    def know(self, sha256: str, version: Version) -> None:
        """Note which version a model is; a check of it that was begun has done its work."""
        known = {**{each: found for each, found in self.state.known.items() if each != sha256}, sha256: version}
        self.change(known=dict(list(known.items())[-MOST_KNOWN:]), trying="", trials=0)

    def refused(self, sha256: str) -> Refused | None:
        """Whether a model was refused before."""
        return next((each for each in self.state.refused if each.sha256 == sha256), None)

    def install(self, data: bytes, version: Version, *, seconds: float = SECONDS) -> None:
        """Check a model in a process of its own, then put it in the place of the one in use; raises RunFailed if it is unfit.

        Until the last step the old model is in its place. A model that fails is not tried again, nor one whose check dies twice.
        """
        sha256, candidate = digest(data), self.incoming / "candidate.sqz"
        begun = self.state.trials if self.state.trying == sha256 else 0
        if begun >= MOST_TRIALS:
            self._refuse(sha256, version, f"its check did not end, {begun} times")
        atomic_io.write_bytes(candidate, data)
        self.change(trying=sha256, trials=begun + 1)
        try:
            verdict = tried(candidate, seconds)
        except BaseException:
            # Stopped in an orderly way, for which the model can do nothing.
            self.change(trials=begun)
            raise
        if verdict.unfit:
            self._refuse(sha256, version, verdict.reason)
        if verdict.reason:
            raise RunFailed(f"version {version.number} is not installed: {verdict.reason}; the model in use stays, try again")
        if old := self.data():
            atomic_io.write_bytes(self.previous, old)
        # Before the model, so that its version is known from the first instant.
        self.know(sha256, version)
        atomic_io.move(candidate, self.model)

    def go_back(self) -> None:
        """Use the model before again, and refuse the one in use from now on."""
        data, previous = self.data(), self.previous.read_bytes() if self.previous.exists() else b""
        if not previous or data == previous:
            raise SqueezekitError(f"{self.folder}: has no version before the one in use")
        if data:
            found = self.version()
            self._note(Refused(sha256=digest(data), version=found.number if found else 0, reason="it was taken back by hand"))
        atomic_io.write_bytes(self.model, previous)

    def keep_incoming(self, wanted: set[str]) -> None:
        """Remove what has been fetched of anything but the files of these names."""
        for path in self.incoming.iterdir():
            if path.name not in wanted:
                path.unlink()

    def clear_incoming(self) -> None:
        """Nothing more is to be fetched."""
        shutil.rmtree(self.incoming, ignore_errors=True)

    def change(self, **fields: object) -> None:
        """Write the state, if it changes."""
        if (changed := self.state.model_copy(update=fields)) != self.state:
            atomic_io.write_text(self.folder / "state.json", changed.model_dump_json(indent=1) + "\n")
            self.state = changed

    def _refuse(self, sha256: str, version: Version, reason: str) -> None:
        refused = Refused(sha256=sha256, version=version.number, reason=reason)
        self._note(refused)
        self.clear_incoming()
        raise RunFailed(said(refused, self.version()))

    def _note(self, refused: Refused) -> None:
        others = [each for each in self.state.refused if each.sha256 != refused.sha256]
        self.change(trying="", trials=0, refused=(*others, refused)[-MOST_REFUSED:])

    def _read_state(self) -> State:
        path = self.folder / "state.json"
        try:
            return State.model_validate_json(path.read_bytes()) if path.exists() else State()
        except ValidationError:
            # Nothing in it is needed to go on: the model is, and whom to trust lies beside it.
            return State()


def said(refused: Refused, current: Version | None) -> str:
    """What a user is told of a refusal."""
    stays = f"version {current.number} stays in use" if current else "the model in use stays"
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
