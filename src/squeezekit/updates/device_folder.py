"""The folder of a device: the model it uses, the one before, and what is known of both.

Its files:

- model.sqz: the model to use
- previous.sqz: the one before
- state.json: which versions these are, which model is being tried, which were refused
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
from squeezekit.updates.self_check_process import TIMEOUT_SECONDS, run_self_check

# One check may end by a power cut or for want of memory, which is not the model's fault.
MAX_TRIALS = 2
MAX_REFUSED = 32
# The model in use, the one before, and the one that both are replacing.
MAX_KNOWN = 3


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelVersion(_Frozen):
    """Number of a model in a channel; `root` is the version of the root metadata that verified it."""

    channel: str
    number: int
    root: int


class RefusedModel(_Frozen):
    """A model that this device will not install: its SHA-256, its version, and why."""

    sha256: str
    version: int
    reason: str


class DeviceState(_Frozen):
    """What is known of the models here; digests are SHA-256 in hexadecimal digits.

    `known` are versions by digest; `trying` is the digest of a model whose check has begun, `trials` how often it has; `origin`
    is the digest of the root.json that this device was given.
    """

    known: dict[str, ModelVersion] = {}
    trying: str = ""
    trials: int = 0
    origin: str = ""
    refused: tuple[RefusedModel, ...] = Field((), max_length=MAX_REFUSED)


class DeviceFolder:
    """A device's folder, which must exist; one process at a time may change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.previous = folder / "model.sqz", folder / "previous.sqz"
        self.trusted, self.metadata, self.incoming = folder / "trusted.json", folder / "metadata", folder / "incoming"
        for each in (self.incoming, self.metadata):
            each.mkdir(parents=True, exist_ok=True)
        # Left by a process that was killed while it replaced a file.
        for left in (*folder.glob(".*.partial"), *self.metadata.glob(".*.partial")):
            left.unlink(missing_ok=True)
        self.state = self._read_state()

    def data(self) -> bytes:
        """The bytes of the model in use; empty where there is none."""
        return self.model.read_bytes() if self.model.exists() else b""

    def version(self) -> ModelVersion | None:
        """The version of the model in use; None where it is not known."""
        return self.state.known.get(digest(self.data()))

    def record(self, sha256: str, version: ModelVersion) -> None:
        """Record which version a model is; its check has ended."""
        known = {**{each: found for each, found in self.state.known.items() if each != sha256}, sha256: version}
        self.update_state(known=dict(list(known.items())[-MAX_KNOWN:]), trying="", trials=0)

    def refused(self, sha256: str) -> RefusedModel | None:
        """The earlier refusal of a model, if any."""
        return next((each for each in self.state.refused if each.sha256 == sha256), None)

    def install(self, data: bytes, version: ModelVersion, *, seconds: float = TIMEOUT_SECONDS) -> None:
        """Check a model in a process of its own, then replace the one in use; raises RunFailed for one that is unfit.

        Until the last step the old model stays in use. A model that fails is not tried again, nor one whose check crashes twice.
        """
        sha256, candidate = digest(data), self.incoming / "candidate.sqz"
        begun = self.state.trials if self.state.trying == sha256 else 0
        if begun >= MAX_TRIALS:
            self._refuse(sha256, version, f"its check did not end, {begun} times")
        atomic_io.write_bytes(candidate, data)
        self.update_state(trying=sha256, trials=begun + 1)
        try:
            verdict = run_self_check(candidate, seconds)
        except BaseException:
            # Interrupted, which is not the model's fault.
            self.update_state(trials=begun)
            raise
        if verdict.unfit:
            self._refuse(sha256, version, verdict.reason)
        if verdict.reason:
            raise RunFailed(f"version {version.number} is not installed: {verdict.reason}; the model in use stays, try again")
        if old := self.data():
            atomic_io.write_bytes(self.previous, old)
        # Before the model, whose version is then known from the first instant.
        self.record(sha256, version)
        atomic_io.move(candidate, self.model)

    def go_back(self) -> None:
        """Use the previous model again, and refuse the one in use from now on; raises SqueezekitError where there is none."""
        data, previous = self.data(), self.previous.read_bytes() if self.previous.exists() else b""
        if not previous or data == previous:
            raise SqueezekitError(f"{self.folder}: has no version before the one in use")
        if data:
            found = self.version()
            self._record_refusal(
                RefusedModel(sha256=digest(data), version=found.number if found else 0, reason="it was taken back by hand")
            )
        atomic_io.write_bytes(self.model, previous)

    def keep_incoming(self, wanted: set[str]) -> None:
        """Remove partial downloads but those of these names."""
        for path in self.incoming.iterdir():
            if path.name not in wanted:
                path.unlink()

    def clear_incoming(self) -> None:
        """Remove all partial downloads."""
        shutil.rmtree(self.incoming, ignore_errors=True)

    def update_state(self, **fields: object) -> None:
        """Change fields of the state, and write it if that changed anything."""
        if (changed := self.state.model_copy(update=fields)) != self.state:
            atomic_io.write_text(self.folder / "state.json", changed.model_dump_json(indent=1) + "\n")
            self.state = changed

    def _refuse(self, sha256: str, version: ModelVersion, reason: str) -> None:
        refused = RefusedModel(sha256=sha256, version=version.number, reason=reason)
        self._record_refusal(refused)
        self.clear_incoming()
        raise RunFailed(refusal(refused, self.version()))

    def _record_refusal(self, refused: RefusedModel) -> None:
        others = [each for each in self.state.refused if each.sha256 != refused.sha256]
        self.update_state(trying="", trials=0, refused=(*others, refused)[-MAX_REFUSED:])

    def _read_state(self) -> DeviceState:
        path = self.folder / "state.json"
        try:
            return DeviceState.model_validate_json(path.read_bytes()) if path.exists() else DeviceState()
        except ValidationError:
            # Updates work without it: the model and the trusted root have files of their own.
            return DeviceState()


def refusal(refused: RefusedModel, current: ModelVersion | None) -> str:
    """The message about a refused model."""
    stays = f"version {current.number} stays in use" if current else "the model in use stays"
    return f"version {refused.version} is refused: {refused.reason}; {stays}"


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
