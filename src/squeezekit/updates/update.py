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
from squeezekit.updates.fetcher import Fetcher, Patience, base_of
from squeezekit.updates.installed import Installed, Version, digest, said, size_of
from squeezekit.updates.repository import channel_files, delta_name

# Bytes of metadata of each role; no delegations, which squeezekit publish never makes.
LIMITS = UpdaterConfig(
    max_root_rotations=256,
    max_delegations=0,
    root_max_length=1 << 16,
    timestamp_max_length=1 << 14,
    snapshot_max_length=1 << 16,
    targets_max_length=1 << 20,
)
KEPT = ("snapshot.json", "targets.json", "timestamp.json")
MAX_BYTES = 16 << 20
MOST_VERSION = 1 << 53
COPY = ".metadata-"
# What a server answers for good: the whole file may be there nevertheless.
GONE = (403, 404, 410, 416)


_STAYS = "nothing was installed, the model in use stays"
_AGAIN = "the same command goes on from what has arrived"
# What is said of an error, by the first kind that it is one of.
SENTENCES: dict[type[Exception], str] = {
    exceptions.UnsignedMetadataError: f"{{}}: too few of the keys that this device trusts have signed it; {_STAYS}",
    exceptions.ExpiredMetadataError: f"{{}}: nobody has renewed it, or somebody holds newer versions back; {_STAYS}",
    exceptions.BadVersionNumberError: f"{{}}: older than, or other than, what was signed; {_STAYS}",
    exceptions.LengthOrHashMismatchError: f"sent another file than the one that was signed ({{}}); {_STAYS}",
    exceptions.RepositoryError: f"is no repository that can be trusted ({{}}); {_STAYS}",
    exceptions.DownloadLengthMismatchError: f"sent more than it may ({{}}); {_STAYS}",
    exceptions.SlowRetrievalError: f"is too slow ({{}}); {_AGAIN}",
    exceptions.DownloadError: f"cannot be fetched from ({{}}); {_AGAIN}",
}


@dataclass(frozen=True)
class Updated:
    """What an update came to: versions before (0: not known) and after, how many bytes came, metadata included.

    `bytes` are those of the whole file; `changed` says whether another model was installed, `by_delta` whether a delta made it.
    """

    channel: str
    before: int
    version: int
    fetched: int
    bytes: int
    changed: bool
    by_delta: bool


def update(
    source: str,
    to: str | Path,
    *,
    trust: str | Path | None = None,
    channel: str = "stable",
    max_bytes: int = MAX_BYTES,
    retry_refused: bool = False,
    patience: Patience | None = None,
) -> Updated:
    """Bring the folder `to` to the newest version of a channel that the repository at `source` offers.

    `source` is an http or https address, or a folder; `trust` is the root.json that came with the device, needed once. Nothing is
    parsed as a model, or as a delta, before its length and digest are those that enough of the trusted keys have signed. What has
    been fetched of a file stays for the next call. The model in use is replaced in one step, after the new one has passed its
    self-check in a process of its own; the one before is kept. A version that was refused is tried again only with
    `retry_refused`.

    Raises SqueezekitError for wrong arguments, RunFailed when the repository cannot be reached, cannot be trusted, offers more
    than `max_bytes` or a model that is unfit; the model in use is then the same as before.
    """
    whole, _ = channel_files(channel)
    base, root = base_of(source), None if trust is None else _root(Path(trust).expanduser())
    folder = Path(to).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder / ".lock"), _told(source):
        here, fetcher = Installed(folder), Fetcher(patience)
        if retry_refused:
            here.change(refused=(), trying="", trials=0)
        with _verified(base, here, fetcher, root) as (repository, root_version):
            wanted = repository.get_targetinfo(whole)
            if wanted is None:
                raise RunFailed(f"{source}: has nothing in the channel '{channel}'; name another with --channel")
            version = Version(channel=channel, number=_number(wanted), root=root_version)
            before, sha256 = here.version(), _sha256(wanted)
            number = before.number if before else 0
            if digest(here.data()) == sha256:
                here.know(sha256, version)
                here.clear_incoming()
                return Updated(channel, number, version.number, fetcher.fetched, wanted.length, changed=False, by_delta=False)
            _check(here, wanted, version, max_bytes)
            data, by_delta = _file(base, repository, fetcher, here, wanted, delta_name(channel, here.data()))
        here.install(data, version)
        here.clear_incoming()
        return Updated(channel, number, version.number, fetcher.fetched, len(data), changed=True, by_delta=by_delta)


def go_back(to: str | Path) -> None:
    """Use the version before the one in use again, and never the one in use; raises SqueezekitError where there is none."""
    folder = Path(to).expanduser()
    if not (folder / "model.sqz").exists():
        raise SqueezekitError(f"{to}: has no model; name the folder of squeezekit update --to")
    with one_at_a_time(folder / ".lock"):
        Installed(folder).go_back()


@contextmanager
def _verified(base: str, here: Installed, fetcher: Fetcher, given: bytes | None) -> Iterator[tuple[Updater, int]]:
    """The repository's signed state, verified from what this device trusts, and the version of its newest root.

    python-tuf works in a copy. What it has verified is kept in any case, each file in the place of the one before in one step,
    and the newest root is what this device trusts from then on.
    """
    origin = here.state.origin if given is None else digest(given)
    if here.trusted.exists() and origin == here.state.origin:
        root = here.trusted.read_bytes()
    elif given is not None:
        root = given
    else:
        raise SqueezekitError("this device trusts nobody yet; give the root.json that came with it with --trust")
    for left in here.folder.glob(f"{COPY}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=here.folder, prefix=COPY) as name:
        copy = Path(name)
        shutil.copytree(here.metadata, copy, dirs_exist_ok=True)
        repository = Updater(name, f"{base}/metadata/", fetcher=fetcher, config=LIMITS, bootstrap=root)
        try:
            repository.refresh()
            yield repository, _newest_root(copy)[0]
        finally:
            # The root first, so that what it signs can be verified again.
            _replace(here.trusted, _newest_root(copy)[1])
            here.change(origin=origin)
            for each in KEPT:
                if (copy / each).is_file():
                    _replace(here.metadata / each, (copy / each).read_bytes())


def _newest_root(copy: Path) -> tuple[int, bytes]:
    """Of those that python-tuf has verified."""
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


def _check(here: Installed, wanted: TargetFile, version: Version, max_bytes: int) -> None:
    """That the version may be installed at all; raises RunFailed."""
    before = here.version()
    if wanted.length > max_bytes:
        raise RunFailed(f"version {version.number} has {wanted.length:,} bytes; allow so many with --max-bytes")
    if refused := here.refused(_sha256(wanted)):
        raise RunFailed(f"{said(refused, before)}; try it again with --retry-refused")
    # Under a newer root nothing is known of the order: whoever had the keys before may have given any number.
    if before and (before.channel, before.root) == (version.channel, version.root) and version.number < before.number:
        numbers = f"version {version.number}, older than version {before.number} in use, which stays"
        raise RunFailed(f"the repository offers {numbers}; publish it again")


def _number(wanted: TargetFile) -> int:
    number = wanted.custom.get("version") if isinstance(wanted.custom, dict) else None
    if type(number) is not int or not 1 <= number <= MOST_VERSION:
        raise RunFailed("the repository does not say which version it offers; it was not made by squeezekit publish")
    return number


def _sha256(about: TargetFile) -> str:
    if "sha256" not in about.hashes:
        raise RunFailed(f"the repository gives no SHA-256 of {about.path}; it was not made by squeezekit publish")
    return about.hashes["sha256"]


def _file(
    base: str, repository: Updater, fetcher: Fetcher, here: Installed, wanted: TargetFile, delta: str
) -> tuple[bytes, bool]:
    """The file that is wanted, and whether a delta made it."""
    shorter = repository.get_targetinfo(delta) if here.model.exists() else None
    here.keep_incoming({_partial(here, each).name for each in (wanted, shorter) if each is not None})
    # Unless less is left of the whole file.
    if shorter is not None and shorter.length < wanted.length - size_of(_partial(here, wanted)):
        try:
            data = apply_delta(here.data(), _fetched(base, fetcher, here, shorter))
            wanted.verify_length_and_hashes(data)
            return data, True
        except (SqueezekitError, exceptions.LengthOrHashMismatchError, exceptions.DownloadError) as error:
            if isinstance(error, exceptions.DownloadError) and not _for_good(error):
                raise
            say(f"the delta does not lead to version {_number(wanted)} ({error}); fetching the whole file")
            _partial(here, shorter).unlink(missing_ok=True)
    return _fetched(base, fetcher, here, wanted), False


def _for_good(error: exceptions.DownloadError) -> bool:
    """Whether the same file would come no better next time."""
    if isinstance(error, exceptions.DownloadHTTPError):
        return error.status_code in GONE
    return isinstance(error, exceptions.DownloadLengthMismatchError)


def _fetched(base: str, fetcher: Fetcher, here: Installed, about: TargetFile) -> bytes:
    """The bytes of a file, of the length and digest that are signed; what a broken download has left is gone on from."""
    partial = _partial(here, about)
    url = f"{base}/targets/{_sha256(about)}.{about.path}"
    for _ in range(2):
        begin = size_of(partial)
        if begin < about.length:
            with progress_bar(about.path, about.length, done=begin, in_bytes=True) as advance:
                for count in fetcher.append(url, partial, about.length):
                    advance(count)
        data = partial.read_bytes() if partial.exists() else b""
        try:
            about.verify_length_and_hashes(data)
            return data
        except exceptions.LengthOrHashMismatchError:
            partial.unlink(missing_ok=True)
            if not begin:
                raise
            # What was there before may have been at fault: the server has not had its own chance yet.
    raise AssertionError("the second turn begins with nothing")


def _partial(here: Installed, about: TargetFile) -> Path:
    # Its own digest, of hexadecimal digits only: no name from outside becomes a path.
    name = hashlib.sha256(_sha256(about).encode()).hexdigest()
    return here.incoming / f"{name}.partial"


@contextmanager
def _told(source: str) -> Iterator[None]:
    """python-tuf's errors as one sentence each."""
    try:
        yield
    except (exceptions.RepositoryError, exceptions.DownloadError) as error:
        sentence = next(text for kind, text in SENTENCES.items() if isinstance(error, kind))
        raise RunFailed(f"{source}: {sentence.format(error)}") from error
