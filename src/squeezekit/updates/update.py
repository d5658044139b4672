"""Fetch, verify and install the newest version of a model."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from ..system import atomic_io
from ..system.console import progress_bar, say
from ..system.errors import RunFailed, SqueezekitError
from ..system.file_lock import one_at_a_time
from ..system.outside_files import read_outside_bytes
from ..system.paths import expanded
from ..system.shown_text import shown
from . import clock
from .channels import channel_files, delta_name
from .device_folder import (
    KEPT_METADATA,
    MOST_BYTES,
    DeviceFolder,
    content_of,
    digest,
    file_size,
    refusal,
    refuse_links,
)
from .device_state import ModelVersion
from .fetcher import Fetcher, FetchLimits, base_address
from .model_reader import apply_delta

# Bytes of metadata of each role; no delegations, which squeezekit publish never makes.
METADATA_LIMITS = UpdaterConfig(
    max_root_rotations=256,
    max_delegations=0,
    root_max_length=1 << 16,
    timestamp_max_length=1 << 14,
    snapshot_max_length=1 << 16,
    targets_max_length=1 << 20,
)
MAX_BYTES = 16 << 20
MAX_VERSION = 1 << 53
COPY_PREFIX = ".metadata-"
COPY = re.compile(rf"{re.escape(COPY_PREFIX)}[a-z0-9_]{{8}}")
IN_COPY = re.compile(r"root_history|\d+\.root\.json|(root|snapshot|targets|timestamp)\.json|tmp[a-z0-9_]{8}")
MOST_SHOWN = 200  # Characters of what a server says.
# Of a disk, and of what one user may have of it.
FULL = (errno.ENOSPC, errno.EDQUOT)
# HTTP statuses that will not change; the whole file may be there although a delta is not.
PERMANENT_STATUSES = (403, 404, 410, 416)


_UNCHANGED = "nothing was installed, the model in use stays"
_RESUMES = "the same command goes on from what has arrived"
# Messages by the first class that an error is an instance of.
SENTENCES: dict[type[Exception], str] = {
    exceptions.UnsignedMetadataError: f"{{}}: too few of the keys that this device trusts have signed it; {_UNCHANGED}",
    exceptions.ExpiredMetadataError: f"{{}}: nobody has renewed it, or somebody holds newer versions back, "
    f"or the clock of this device is wrong, which shows {{time}}; {_UNCHANGED}",
    exceptions.BadVersionNumberError: f"{{}}: older than, or other than, what was signed; {_UNCHANGED}",
    exceptions.LengthOrHashMismatchError: f"sent another file than the one that was signed ({{}}); {_UNCHANGED}",
    exceptions.RepositoryError: f"is no repository that can be trusted ({{}}); {_UNCHANGED}",
    exceptions.DownloadLengthMismatchError: f"sent more than it may ({{}}); {_UNCHANGED}",
    exceptions.SlowRetrievalError: f"is too slow ({{}}); {_RESUMES}",
    exceptions.DownloadError: f"cannot be fetched from ({{}}); {_RESUMES}",
}


@dataclass(frozen=True)
class UpdateResult:
    """The result of an update: versions before (0: not known) and after, and bytes `fetched`, metadata included.

    `bytes` are those of the whole file; `changed` says whether another model was installed, `by_delta` whether from a delta.
    """

    channel: str
    before: int
    version: int
    fetched: int
    bytes: int
    changed: bool
    by_delta: bool


def update(
    repo: str,
    out: str | Path,
    *,
    trust: str | Path | None = None,
    channel: str = "stable",
    max_bytes: int = MAX_BYTES,
    retry_refused: bool = False,
    limits: FetchLimits | None = None,
) -> UpdateResult:
    """Install the newest version of a channel from the repository `repo` in the folder `out`.

    `repo` is an http or https address, or a folder; `trust` is the root.json that came with the device, needed once. Nothing is
    parsed as a model, or as a delta, before its length and digest are those that enough of the trusted keys have signed. Partial
    downloads stay for the next call. The model in use is replaced in one step, after the new one has passed its
    self-check in a process of its own; the one before is kept. A version that was refused is tried again only with
    `retry_refused`.

    Raises SqueezekitError for wrong arguments, RunFailed when the repository cannot be reached, cannot be trusted, offers more
    than `max_bytes` or a model that is unfit; the model in use is then the same as before.
    """
    whole, _ = channel_files(channel)
    if not 1 <= max_bytes <= MOST_BYTES:
        raise SqueezekitError(f"--max-bytes {max_bytes}: give 1 to {MOST_BYTES:,} bytes")
    base, root = base_address(repo), None if trust is None else _root(expanded(trust))
    folder = expanded(out)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_links(folder)
    with one_at_a_time(folder / ".lock"), _one_sentence_errors(repo, folder):
        device, fetcher = DeviceFolder(folder), Fetcher(limits)
        if retry_refused:
            device.update_state(refused=(), trying="", trials=0)
        with _verified(base, device, fetcher, root) as (repository, root_version):
            wanted = repository.get_targetinfo(whole)
            if wanted is None:
                raise RunFailed(f"{repo}: has nothing in the channel '{channel}'; name another with --channel")
            version = ModelVersion(channel=channel, number=_number(wanted), root=root_version)
            before, sha256 = device.version(), _sha256(wanted)
            number = before.number if before else 0
            if digest(device.data()) == sha256:
                device.record(sha256, version)
                device.clear_incoming()
                return UpdateResult(
                    channel, number, version.number, fetcher.fetched, wanted.length, changed=False, by_delta=False
                )
            _check(device, wanted, version, max_bytes)
            data, by_delta = _file(base, repository, fetcher, device, wanted, delta_name(channel, device.data()))
        device.install(data, version)
        device.clear_incoming()
        return UpdateResult(channel, number, version.number, fetcher.fetched, len(data), changed=True, by_delta=by_delta)


def go_back(out: str | Path) -> None:
    """Use the version before the one in use again, and never the one in use; raises SqueezekitError where there is none."""
    folder = expanded(out)
    if not (folder / "model.sqz").exists():
        raise SqueezekitError(f"{out}: has no model; name the folder of squeezekit update --out")
    refuse_links(folder)
    with one_at_a_time(folder / ".lock"):
        DeviceFolder(folder).go_back()


@contextmanager
def _verified(base: str, device: DeviceFolder, fetcher: Fetcher, given: bytes | None) -> Iterator[tuple[Updater, int]]:
    """The repository's signed metadata, verified from what this device trusts, and the version of its newest root.

    python-tuf works in a copy. What it has verified is kept in any case, each file replaced in one step, and the newest root is
    what this device trusts from then on.
    """
    origin = device.state.origin if given is None else digest(given)
    root = _first_root(device, given, origin)
    _remove_copies(device.folder)
    with tempfile.TemporaryDirectory(dir=device.folder, prefix=COPY_PREFIX) as name:
        copy = Path(name)
        for each in KEPT_METADATA:
            if content := content_of(device.metadata / each):
                (copy / each).write_bytes(content)
        repository = Updater(name, f"{base}/metadata/", fetcher=fetcher, config=METADATA_LIMITS, bootstrap=root)
        try:
            repository.refresh()
            _check_current(copy, device)
            yield repository, _newest_root(copy)[0]
        finally:
            # The root first: it verifies the others.
            _replace(device.trusted, _newest_root(copy)[1])
            device.update_state(origin=origin)
            for each in KEPT_METADATA:
                if (copy / each).is_file():
                    _replace(device.metadata / each, (copy / each).read_bytes())


def _first_root(device: DeviceFolder, given: bytes | None, origin: str) -> bytes:
    """The newest root that this device has verified; the one that was given where it is another, or where there is none whole."""
    if device.trusted.exists() and origin == device.state.origin:
        if _is_root(found := content_of(device.trusted)):
            return found
        damaged = f"{device.trusted}: is damaged, on this device and not in the repository"
        if given is None:
            raise SqueezekitError(f"{damaged}; give the root.json that came with it again, with --trust")
        say(f"{damaged}; going on from that of --trust")
    if given is None:
        raise SqueezekitError("this device trusts nobody yet; give the root.json that came with it with --trust")
    return given


def _is_root(content: bytes) -> bool:
    """Whether this is a root, signed by enough of its own keys."""
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(content)
        if isinstance(metadata.signed, Root):
            metadata.signed.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
            return True
    except (exceptions.RepositoryError, ValueError):
        pass
    return False


def _remove_copies(folder: Path) -> None:
    """What a process that was killed has left of its copies of the metadata, and nothing else."""
    for copy in folder.glob(f"{COPY_PREFIX}*"):
        if COPY.fullmatch(copy.name) and not copy.is_symlink() and all(IN_COPY.fullmatch(path.name) for path in copy.rglob("*")):
            shutil.rmtree(copy)


def _check_current(copy: Path, device: DeviceFolder) -> None:
    """Raise ExpiredMetadataError for what has expired by any time that is known; python-tuf knows that of the clock only.

    Where nothing has, note the time, once a day.
    """
    time, latest = clock.not_before(device.state.latest), device.state.latest
    newest_root = copy / "root_history" / f"{_newest_root(copy)[0]}.root.json"
    for path in (newest_root, *(copy / name for name in KEPT_METADATA)):
        if Metadata.from_file(str(path)).signed.is_expired(time):
            raise exceptions.ExpiredMetadataError(f"{path.name} is expired")
    if latest is None or time >= latest + clock.SLACK:
        device.update_state(latest=time.replace(microsecond=0))


def _newest_root(copy: Path) -> tuple[int, bytes]:
    """The newest root that python-tuf has verified, its version first."""
    version = max(int(path.name.split(".")[0]) for path in (copy / "root_history").glob("*.root.json"))
    return version, (copy / "root_history" / f"{version}.root.json").read_bytes()


def _replace(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        atomic_io.write_bytes(path, content)


def _root(path: Path) -> bytes:
    try:
        content = read_outside_bytes(path, METADATA_LIMITS.root_max_length)
    except SqueezekitError as error:
        raise SqueezekitError(f"--trust {error}") from None
    if not _is_root(content):
        raise SqueezekitError(f"--trust {path}: is no root.json, or a damaged one; give the one that keys create has named")
    return content


def _check(device: DeviceFolder, wanted: TargetFile, version: ModelVersion, max_bytes: int) -> None:
    """Raise RunFailed for a version that is too large, refused before, or older than the one in use."""
    before = device.version()
    if wanted.length > max_bytes:
        raise RunFailed(f"version {version.number} has {wanted.length:,} bytes; allow so many with --max-bytes")
    if refused := device.refused(_sha256(wanted)):
        raise RunFailed(f"{refusal(refused, before)}; try it again with --retry-refused")
    # Under a newer root the order is unknown: whoever had the old keys may have chosen any number.
    if before and (before.channel, before.root) == (version.channel, version.root) and version.number < before.number:
        numbers = f"version {version.number}, older than version {before.number} in use, which stays"
        raise RunFailed(f"the repository offers {numbers}; publish it again")


def _number(wanted: TargetFile) -> int:
    number = wanted.custom.get("version") if isinstance(wanted.custom, dict) else None
    if type(number) is not int or not 1 <= number <= MAX_VERSION:
        raise RunFailed("the repository does not say which version it offers; it was not made by squeezekit publish")
    return number


def _sha256(target: TargetFile) -> str:
    if "sha256" not in target.hashes:
        raise RunFailed(f"the repository gives no SHA-256 of {target.path}; it was not made by squeezekit publish")
    return target.hashes["sha256"]


def _file(
    base: str, repository: Updater, fetcher: Fetcher, device: DeviceFolder, wanted: TargetFile, delta: str
) -> tuple[bytes, bool]:
    """The bytes of the wanted file, and whether a delta made them."""
    shorter = repository.get_targetinfo(delta) if apply_delta and device.model.exists() else None
    device.keep_incoming({_partial(device, each).name for each in (wanted, shorter) if each is not None})
    # Not where less of the whole file is left to fetch.
    if apply_delta and shorter is not None and shorter.length < wanted.length - file_size(_partial(device, wanted)):
        try:
            data = apply_delta(device.data(), _fetched(base, fetcher, device, shorter))
            wanted.verify_length_and_hashes(data)
            return data, True
        except (SqueezekitError, exceptions.LengthOrHashMismatchError, exceptions.DownloadError) as error:
            if isinstance(error, exceptions.DownloadError) and not _is_permanent(error):
                raise
            say(f"the delta does not lead to version {_number(wanted)} ({_brief(error)}); fetching the whole file")
            _partial(device, shorter).unlink(missing_ok=True)
    return _fetched(base, fetcher, device, wanted), False


def _is_permanent(error: exceptions.DownloadError) -> bool:
    """Whether fetching the same file again would fail again."""
    if isinstance(error, exceptions.DownloadHTTPError):
        return error.status_code in PERMANENT_STATUSES
    return isinstance(error, exceptions.DownloadLengthMismatchError)


def _fetched(base: str, fetcher: Fetcher, device: DeviceFolder, target: TargetFile) -> bytes:
    """The bytes of a file, of the signed length and digest; a partial download is continued."""
    partial = _partial(device, target)
    url = f"{base}/targets/{_sha256(target)}.{target.path}"
    for _ in range(2):
        begin = file_size(partial)
        if begin < target.length:
            with progress_bar(target.path, target.length, done=begin, in_bytes=True) as advance:
                for count in fetcher.append(url, partial, target.length):
                    advance(count)
        data = content_of(partial, MOST_BYTES)
        try:
            target.verify_length_and_hashes(data)
            return data
        except exceptions.LengthOrHashMismatchError:
            partial.unlink(missing_ok=True)
            if not begin:
                raise
            # The partial download may have been at fault: fetch the whole file once.
    raise AssertionError("the second attempt begins with nothing")


def _partial(device: DeviceFolder, target: TargetFile) -> Path:
    # A digest of the digest: no name from outside becomes a path.
    name = hashlib.sha256(_sha256(target).encode()).hexdigest()
    return device.incoming / f"{name}.partial"


@contextmanager
def _one_sentence_errors(repo: str, folder: Path) -> Iterator[None]:
    """Turn each error of python-tuf, and a full disk, into a RunFailed of one sentence."""
    try:
        yield
    except (exceptions.RepositoryError, exceptions.DownloadError) as error:
        sentence = next(text for kind, text in SENTENCES.items() if isinstance(error, kind))
        raise RunFailed(f"{repo}: {sentence.format(_brief(error), time=clock.shown_time(clock.now()))}") from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise RunFailed(f"{folder}: no space is left there, or in {tempfile.gettempdir()}; make room, and {_RESUMES}") from error


def _brief(error: Exception) -> str:
    """What went wrong; servers may have written parts of it."""
    text = shown(str(error))
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
