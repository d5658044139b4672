"""Fetch, verify and install the newest version of a model."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from squeezekit.modelfile.delta import apply_delta
from squeezekit.system import atomic_io
from squeezekit.system.console import progress_bar, say
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.file_lock import one_at_a_time
from squeezekit.system.paths import expanded
from squeezekit.updates.device_folder import DeviceFolder, ModelVersion, digest, file_size, refusal
from squeezekit.updates.fetcher import Fetcher, FetchLimits, base_address
from squeezekit.updates.repository import channel_files, delta_name

# Bytes of metadata of each role; no delegations, which squeezekit publish never makes.
METADATA_LIMITS = UpdaterConfig(
    max_root_rotations=256,
    max_delegations=0,
    root_max_length=1 << 16,
    timestamp_max_length=1 << 14,
    snapshot_max_length=1 << 16,
    targets_max_length=1 << 20,
)
KEPT_METADATA = ("snapshot.json", "targets.json", "timestamp.json")
MAX_BYTES = 16 << 20
MAX_VERSION = 1 << 53
COPY_PREFIX = ".metadata-"
# HTTP statuses that will not change; the whole file may be there although a delta is not.
PERMANENT_STATUSES = (403, 404, 410, 416)


_UNCHANGED = "nothing was installed, the model in use stays"
_RESUMES = "the same command goes on from what has arrived"
# Messages by the first class that an error is an instance of.
SENTENCES: dict[type[Exception], str] = {
    exceptions.UnsignedMetadataError: f"{{}}: too few of the keys that this device trusts have signed it; {_UNCHANGED}",
    exceptions.ExpiredMetadataError: f"{{}}: nobody has renewed it, or somebody holds newer versions back; {_UNCHANGED}",
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
    base, root = base_address(repo), None if trust is None else _root(expanded(trust))
    folder = expanded(out)
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder / ".lock"), _one_sentence_errors(repo):
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
    with one_at_a_time(folder / ".lock"):
        DeviceFolder(folder).go_back()


@contextmanager
def _verified(base: str, device: DeviceFolder, fetcher: Fetcher, given: bytes | None) -> Iterator[tuple[Updater, int]]:
    """The repository's signed metadata, verified from what this device trusts, and the version of its newest root.

    python-tuf works in a copy. What it has verified is kept in any case, each file replaced in one step, and the newest root is
    what this device trusts from then on.
    """
    origin = device.state.origin if given is None else digest(given)
    if device.trusted.exists() and origin == device.state.origin:
        root = device.trusted.read_bytes()
    elif given is not None:
        root = given
    else:
        raise SqueezekitError("this device trusts nobody yet; give the root.json that came with it with --trust")
    for left in device.folder.glob(f"{COPY_PREFIX}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=device.folder, prefix=COPY_PREFIX) as name:
        copy = Path(name)
        shutil.copytree(device.metadata, copy, dirs_exist_ok=True)
        repository = Updater(name, f"{base}/metadata/", fetcher=fetcher, config=METADATA_LIMITS, bootstrap=root)
        try:
            repository.refresh()
            yield repository, _newest_root(copy)[0]
        finally:
            # The root first: it verifies the others.
            _replace(device.trusted, _newest_root(copy)[1])
            device.update_state(origin=origin)
            for each in KEPT_METADATA:
                if (copy / each).is_file():
                    _replace(device.metadata / each, (copy / each).read_bytes())


def _newest_root(copy: Path) -> tuple[int, bytes]:
    """The newest root that python-tuf has verified, its version first."""
    version = max(int(path.name.split(".")[0]) for path in (copy / "root_history").glob("*.root.json"))
    return version, (copy / "root_history" / f"{version}.root.json").read_bytes()


def _replace(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        atomic_io.write_bytes(path, content)


def _root(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        signed = Metadata.from_bytes(content).signed
    except OSError as error:
        raise SqueezekitError(f"--trust {path}: cannot be read ({error.strerror}); give the device's root.json") from None
    except exceptions.RepositoryError:
        signed = None
    if not isinstance(signed, Root):
        raise SqueezekitError(f"--trust {path}: is no root.json; give the one that keys create has named")
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
    shorter = repository.get_targetinfo(delta) if device.model.exists() else None
    device.keep_incoming({_partial(device, each).name for each in (wanted, shorter) if each is not None})
    # Not where less of the whole file is left to fetch.
    if shorter is not None and shorter.length < wanted.length - file_size(_partial(device, wanted)):
        try:
            data = apply_delta(device.data(), _fetched(base, fetcher, device, shorter))
            wanted.verify_length_and_hashes(data)
            return data, True
        except (SqueezekitError, exceptions.LengthOrHashMismatchError, exceptions.DownloadError) as error:
            if isinstance(error, exceptions.DownloadError) and not _is_permanent(error):
                raise
            say(f"the delta does not lead to version {_number(wanted)} ({error}); fetching the whole file")
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
        data = partial.read_bytes() if partial.exists() else b""
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
def _one_sentence_errors(repo: str) -> Iterator[None]:
    """Turn each error of python-tuf into a RunFailed of one sentence."""
    try:
        yield
    except (exceptions.RepositoryError, exceptions.DownloadError) as error:
        sentence = next(text for kind, text in SENTENCES.items() if isinstance(error, kind))
        raise RunFailed(f"{repo}: {sentence.format(error)}") from error
