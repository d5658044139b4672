"""The folder of a device: the model it uses, the one before, and what is known of both.

Its files:

- model.sqz: the model to use
- previous.sqz: the one before
- state.json: which versions these are, which model is being tried, which were refused
- trusted.json: the newest root that this device has verified
- metadata: what the repository has signed, as far as it is verified
- incoming: what has been fetched of the next version

Every write replaces a whole file in one step, so that a power cut at any instant leaves the old model or the new one. No link is
followed, and nothing is deleted but what was made here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..system import atomic_io
from ..system.console import say
from ..system.errors import RunFailed, SqueezekitError
from ..system.outside_files import read_outside_bytes
from . import clock
from .device_state import MAX_REFUSED, DeviceState, ModelVersion, RefusedModel, state_as_read, written_state
from .self_check_process import TIMEOUT_SECONDS, run_self_check

# Checks that crash, or that a power cut ends, before the model has to wait; that need not be its fault.
MAX_TRIALS = 2
WAIT = timedelta(days=1)
# The model in use, the one before, and the one that both are replacing.
MAX_KNOWN = 3
# Of a model, and of what is noted about them.
MOST_BYTES = 1 << 26
MOST_BYTES_OF_NOTES = 1 << 20
KEPT_METADATA = ("snapshot.json", "targets.json", "timestamp.json")
FILES = ("model.sqz", "previous.sqz", "state.json", "trusted.json")
# Names that only this program gives: downloads, models on trial, and files that replace others.
INCOMING = re.compile(r"[0-9a-f]{64}\.(partial|sqz)|\.[0-9a-f]{64}\.sqz\..*\.partial")
REPLACING = re.compile(rf"\.({'|'.join(map(re.escape, (*FILES, *KEPT_METADATA)))})\..*\.partial")


class DeviceFolder:
    """A device's folder, which must exist; one process at a time may change it. Raises SqueezekitError where a link is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.previous = folder / "model.sqz", folder / "previous.sqz"
        self.trusted, self.metadata, self.incoming = folder / "trusted.json", folder / "metadata", folder / "incoming"
        refuse_links(folder)
        for each in (self.incoming, self.metadata):
            each.mkdir(parents=True, exist_ok=True)
        # Left by a process that was killed while it replaced a file.
        for place in (folder, self.metadata):
            _remove(place, REPLACING)
        self.state = self._read_state()

    def data(self) -> bytes:
        """The bytes of the model in use; empty where there is none."""
        return content_of(self.model, MOST_BYTES)

    def version(self) -> ModelVersion | None:
        """The version of the model in use; None where it is not known."""
        return self.state.known.get(digest(self.data()))

    def record(self, sha256: str, version: ModelVersion) -> None:
        """Record which version a model is; its check has ended."""
        known = {**{each: found for each, found in self.state.known.items() if each != sha256}, sha256: version}
        self.update_state(known=dict(list(known.items())[-MAX_KNOWN:]), trying="", trials=0)

    def refused(self, sha256: str) -> RefusedModel | None:
        """The refusal of a model that holds now, if any."""
        return next((each for each in self.state.refused if each.sha256 == sha256 and _holds(each)), None)

    def install(self, data: bytes, version: ModelVersion, *, seconds: float = TIMEOUT_SECONDS) -> None:
        """Check a model in a process of its own, then replace the one in use; raises RunFailed for one that is unfit.

        Until the last step the old model stays in use. A model that fails is not tried again; one whose check crashes twice
        waits for a day. A check that could not be carried out says nothing of the model, and is made again the next time.
        """
        sha256 = digest(data)
        candidate = self.incoming / f"{sha256}.sqz"
        begun = self.state.trials if self.state.trying == sha256 else 0
        if begun >= MAX_TRIALS:
            self._refuse(sha256, version, f"its check did not end, {begun} times", until=clock.now() + WAIT)
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
            if not verdict.crashed:
                self.update_state(trials=begun)
            raise RunFailed(f"version {version.number} is not installed: {verdict.reason}; the model in use stays, try again")
        if old := self.data():
            atomic_io.write_bytes(self.previous, old)
        # Before the model, whose version is then known from the first instant.
        self.record(sha256, version)
        atomic_io.move(candidate, self.model)

    def go_back(self) -> None:
        """Use the previous model again, and refuse the one in use from now on; raises SqueezekitError where there is none."""
        data, previous = self.data(), content_of(self.previous, MOST_BYTES)
        if not previous or data == previous:
            raise SqueezekitError(f"{self.folder}: has no version before the one in use")
        if data:
            found = self.version()
            self._record_refusal(
                RefusedModel(sha256=digest(data), version=found.number if found else 0, reason="it was taken back by hand")
            )
        atomic_io.write_bytes(self.model, previous)

    def keep_incoming(self, wanted: set[str]) -> None:
        """Remove partial downloads but those of these names; files of others stay."""
        _remove(self.incoming, INCOMING, wanted)

    def clear_incoming(self) -> None:
        """Remove all partial downloads, and the folder where it is then empty."""
        self.keep_incoming(set())
        with suppress(OSError):
            self.incoming.rmdir()

    def update_state(self, **fields: Any) -> None:
        """Change fields of the state, and write it if that changed anything."""
        if (changed := replace(self.state, **fields)) != self.state:
            atomic_io.write_text(self.folder / "state.json", written_state(changed))
            self.state = changed

    def _refuse(self, sha256: str, version: ModelVersion, reason: str, *, until: datetime | None = None) -> None:
        refused = RefusedModel(sha256=sha256, version=version.number, reason=reason, until=until)
        self._record_refusal(refused)
        self.clear_incoming()
        raise RunFailed(refusal(refused, self.version()))

    def _record_refusal(self, refused: RefusedModel) -> None:
        others = [each for each in self.state.refused if each.sha256 != refused.sha256]
        self.update_state(trying="", trials=0, refused=(*others, refused)[-MAX_REFUSED:])

    def _read_state(self) -> DeviceState:
        path = self.folder / "state.json"
        try:
            return state_as_read(content) if (content := content_of(path)) else DeviceState()
        except (ValueError, RecursionError):
            # Updates work without it: the model and the trusted root have files of their own.
            say(f"{path}: was damaged; which models this device has refused is forgotten")
            return DeviceState()


def refuse_links(folder: Path) -> None:
    """Raise SqueezekitError where one of the names of a device's folder is a link, which may lead anywhere."""
    names = (*FILES, ".lock", "incoming", "metadata", *(f"metadata/{name}" for name in KEPT_METADATA))
    for path in (folder / name for name in names):
        if path.is_symlink():
            raise SqueezekitError(
                f"{path}: is a link, which an update does not follow; remove it, or name another folder with -o"
            )


def _remove(folder: Path, ours: re.Pattern[str], but: Collection[str] = ()) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if ours.fullmatch(path.name) and path.name not in but and (path.is_symlink() or not path.is_dir()):
            path.unlink(missing_ok=True)


def refusal(refused: RefusedModel, current: ModelVersion | None) -> str:
    """The message about a refused model."""
    stays = f"version {current.number} stays in use" if current else "the model in use stays"
    until = f" until {clock.shown_time(refused.until)}" if refused.until else ""
    return f"version {refused.version} is refused{until}: {refused.reason}; {stays}"


def _holds(refused: RefusedModel) -> bool:
    # Also ended where the clock has been set back since.
    return refused.until is None or refused.until - WAIT <= clock.now() < refused.until


def content_of(path: Path, most_bytes: int = MOST_BYTES_OF_NOTES) -> bytes:
    """The bytes of a file; none where there is none. Raises SqueezekitError for what is no file, or larger."""
    return read_outside_bytes(path, most_bytes) if os.path.lexists(path) else b""


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
