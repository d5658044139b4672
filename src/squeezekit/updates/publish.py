"""Publishing a version of a model in an update repository."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from squeezekit.modelfile.delta import delta_between
from squeezekit.modelfile.sqz import from_bytes
from squeezekit.pretrained.files import model_path
from squeezekit.system import atomic_io
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes, read_outside_json
from squeezekit.system.paths import expanded
from squeezekit.updates import clock
from squeezekit.updates.channels import channel_files, delta_name
from squeezekit.updates.device_folder import MOST_BYTES
from squeezekit.updates.keys import KeyRing
from squeezekit.updates.model_reader import self_check_problem
from squeezekit.updates.repository import Repository

DEFAULT_DELTAS = 4
# A delta that saves less is not worth its entry in the metadata, which every device fetches.
MIN_SAVED_BYTES = 256


@dataclass(frozen=True)
class PublishResult:
    """A published version: the bytes of its whole file, of the deltas by earlier version, and of the signed metadata."""

    channel: str
    version: int
    bytes: int
    deltas: dict[int, int]
    metadata_bytes: int


def publish(
    model: str | Path,
    repo: str | Path,
    *,
    keys: Sequence[str | Path],
    passphrases: Sequence[str],
    channel: str = "stable",
    deltas: int = DEFAULT_DELTAS,
    days: Mapping[str, int] | None = None,
    check: bool = True,
) -> PublishResult:
    """Publish a `.sqz` file, or a pretrained model, in the repository `repo` as the newest version of a channel.

    Deltas are made from the `deltas` versions before, where they save enough. All is signed with the keys of targets, snapshot
    and timestamp in the folders `keys`; these metadata expire after `days` by role. The model must pass the self-check that it
    carries unless `check` is false, which serves to rehearse what devices do with one that fails. Publishing the newest
    version again only renews the metadata. Raises SqueezekitError.
    """
    if deltas < 0:
        raise SqueezekitError(f"--deltas {deltas}: give 0 or more")
    data = _read(model_path(model), check=check)
    whole, prefix = channel_files(channel)
    folder = expanded(repo)
    with Repository(folder).locked():
        repository = Repository(folder, KeyRing([expanded(each) for each in keys], passphrases), days)
        history = _history(folder, channel)
        newest = repository.targets.signed.targets.get(whole)
        version = int((newest.custom or {}).get("version", 0)) if newest else 0
        if newest is None or newest.hashes["sha256"] != hashlib.sha256(data).hexdigest():
            version += 1
        earlier = [each for each in history if each["version"] < version][-deltas:] if deltas else []
        found = _deltas(repository, whole, earlier, data)
        files: dict[str, tuple[bytes, dict[str, Any]]] = {whole: (data, {"version": version})}
        files |= {delta_name(channel, old): (delta, {}) for old, delta in found.values()}
        line = {"version": version, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        line["published"] = clock.now().isoformat(timespec="seconds")
        history = [*(each for each in history if each["version"] < version), line]
        # Before the version itself: a kill in between costs nothing; the other way round, the next deltas would be lost.
        atomic_io.write_text(folder / "channels" / f"{channel}.json", json.dumps(history, indent=1) + "\n")
        repository.publish({name: files[name] for name in sorted(files)}, instead_of=prefix)
        delta_sizes = {number: len(delta) for number, (_, delta) in found.items()}
        return PublishResult(channel, version, len(data), delta_sizes, repository.metadata_bytes())


def _read(path: Path, *, check: bool) -> bytes:
    data = read_outside_bytes(path, MOST_BYTES)
    try:
        sqz = from_bytes(data)
    except SqueezekitError as error:
        raise SqueezekitError(f"{path}: {error}") from None
    if check and (reason := self_check_problem(sqz)):
        raise SqueezekitError(f"{path}: {reason}, so that every device would refuse it; compress the run again")
    return data


def _history(folder: Path, channel: str) -> list[dict[str, Any]]:
    path, without = folder / "channels" / f"{channel}.json", "delete it, and the next version has no deltas"
    try:
        found = read_outside_json(path) if os.path.lexists(path) else []
    except SqueezekitError as error:
        raise SqueezekitError(f"{error}; {without}") from None
    if not isinstance(found, list) or not all(map(_is_line, found)):
        raise SqueezekitError(f"{path}: is damaged; {without}")
    time, last = clock.now(), max(map(_published, found), default=clock.RELEASED)
    if last > time + clock.SLACK:
        shown, then = clock.shown_time(time), clock.shown_time(last)
        say(f"{folder}: the clock of this machine shows {shown}, but a version was published {then}; see that it is right")
    return sorted(found, key=lambda line: int(line["version"]))


def _is_line(line: object) -> bool:
    """Whether this is about a version: its number, digest and time."""
    if not isinstance(line, dict) or type(line.get("version")) is not int:
        return False
    try:
        _published(line)
        return re.fullmatch("[0-9a-f]{64}", line["sha256"]) is not None
    except (KeyError, TypeError, ValueError, OverflowError):
        return False


def _published(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["published"]).astimezone(UTC)


def _deltas(repository: Repository, whole: str, earlier: list[dict[str, Any]], data: bytes) -> dict[int, tuple[bytes, bytes]]:
    """By earlier version, the old file and the delta from it, where that saves enough."""
    found = {}
    for line in earlier:
        path = repository.folder / "targets" / f"{line['sha256']}.{whole}"
        old = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(old).hexdigest() != line["sha256"] or old == data:
            continue
        try:
            delta = delta_between(old, data)
        except SqueezekitError:
            # An old file that can no longer be read.
            continue
        if delta is not None and len(delta) + MIN_SAVED_BYTES < len(data):
            found[line["version"]] = old, delta
    return found
