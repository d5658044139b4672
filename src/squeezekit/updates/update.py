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
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from squeezekit import durable
from squeezekit.compression.delta import apply_delta
from squeezekit.errors import RunFailed, SqueezekitError
from squeezekit.screen import progress_bar, say
from squeezekit.turns import one_at_a_time
from squeezekit.updates.fetcher import Fetcher, Patience, base_of
from squeezekit.updates.installed import Installed, digest, said, size_of
from squeezekit.updates.repository import channel_files, delta_name

# Bytes of metadata of each role, and rotations of root at one time.
LIMITS = UpdaterConfig(
    max_root_rotations=64,
    root_max_length=1 << 16,
    timestamp_max_length=1 << 14,
    snapshot_max_length=1 << 16,
    targets_max_length=1 << 20,
)
MAX_BYTES = 16 << 20
ROOT = "trusted.json"
COPY = ".metadata-"


@dataclass(frozen=True)
class Updated:
    """What an update came to: versions before and after, how many bytes came (metadata included), and those of the whole file.

    `by_delta` says whether the file was made from the one before and a delta.
    """

    channel: str
    before: int
    version: int
    fetched: int
    bytes: int
    by_delta: bool

    @property
    def changed(self) -> bool:
        """Whether there was anything new."""
        return self.version != self.before


def update(
    source: str,
    to: str | Path,
    *,
    trust: str | Path | None = None,
    channel: str = "stable",
    max_bytes: int = MAX_BYTES,
    patience: Patience | None = None,
) -> Updated:
    """Bring the folder `to` to the newest version of a channel that the repository at `source` offers.

    `source` is an http or https address, or a folder; `trust` is the root.json that came with the device, needed once. Nothing is
    parsed as a model, or as a delta, before its length and digest are those that enough of the trusted keys have signed. What has
    been fetched of a file stays for the next call. The model in use is replaced in one step, after the new one has passed its
    self-check in a process of its own; the one before is kept.

    Raises SqueezekitError for wrong arguments, RunFailed when the repository cannot be reached, cannot be trusted, offers more
    than `max_bytes` or a model that is unfit; the model in use is then the same as before.
    """
    whole, _ = channel_files(channel)
    base, folder = base_of(source), Path(to).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder / ".lock"), _told(source):
        here, fetcher = Installed(folder), Fetcher(patience)
        with _verified(base, here, fetcher, trust) as repository:
            wanted = repository.get_targetinfo(whole)
            if wanted is None:
                raise RunFailed(f"{source}: has nothing in the channel '{channel}'; name another with --channel")
            before, version = here.version(), _version(wanted)
            old, sha256 = here.data(), _sha256(wanted)
            if digest(old) == sha256:
                here.know(channel, version, sha256)
                return Updated(channel, version, version, fetcher.fetched, wanted.length, by_delta=False)
            if wanted.length > max_bytes:
                raise RunFailed(f"version {version} has {wanted.length:,} bytes; allow so many with --max-bytes")
            if refused := here.refused(sha256):
                raise RunFailed(said(refused, before))
            if version < before and here.state.channel == channel:
                raise RunFailed(f"the repository offers version {version}, older than version {before} in use, which stays")
            data, by_delta = _file(base, repository, fetcher, here, wanted, delta_name(channel, old))
        here.install(data, channel, version)
        shutil.rmtree(here.incoming, ignore_errors=True)
        return Updated(channel, before, version, fetcher.fetched, len(data), by_delta)


@contextmanager
def _verified(base: str, here: Installed, fetcher: Fetcher, trust: str | Path | None) -> Iterator[Updater]:
    """The repository's signed state, verified from what this device trusts; what was verified is kept in any case.

    python-tuf works in a copy, of which each file then takes the place of the one before in one step.
    """
    place = here.metadata / ROOT
    if trust is not None:
        root = _root(Path(trust).expanduser())
    elif place.exists():
        root = place.read_bytes()
    else:
        raise SqueezekitError("this device trusts nobody yet; give the root.json that came with it with --trust")
    for left in here.folder.glob(f"{COPY}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=here.folder, prefix=COPY) as copy:
        shutil.copytree(here.metadata, copy, dirs_exist_ok=True)
        try:
            repository = Updater(copy, f"{base}/metadata/", fetcher=fetcher, config=LIMITS, bootstrap=root)
            repository.refresh()
            durable.write_bytes(place, root)
            yield repository
        finally:
            _keep(Path(copy), here.metadata)


def _keep(copy: Path, metadata: Path) -> None:
    """Roots first, so that what they sign can be verified again."""
    names = sorted(path.relative_to(copy) for path in copy.rglob("*.json") if path.is_file() and not path.is_symlink())
    (metadata / "root_history").mkdir(exist_ok=True)
    for name in sorted(names, key=lambda name: "root" not in name.name):
        new, old = (copy / name).read_bytes(), metadata / name
        if not old.is_file() or old.read_bytes() != new:
            durable.write_bytes(old, new)


def _root(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SqueezekitError(f"--trust {path}: cannot be read ({error.strerror}); give the device's root.json") from None


def _version(wanted: TargetFile) -> int:
    try:
        return int(wanted.custom["version"])
    except (TypeError, KeyError, ValueError):
        raise RunFailed("the repository does not say which version it offers; it was not made by squeezekit publish") from None


def _sha256(about: TargetFile) -> str:
    if "sha256" not in about.hashes:
        raise RunFailed(f"the repository gives no SHA-256 of {about.path}; it was not made by squeezekit publish")
    return about.hashes["sha256"]


def _file(
    base: str, repository: Updater, fetcher: Fetcher, here: Installed, wanted: TargetFile, delta: str
) -> tuple[bytes, bool]:
    """The file that is wanted, and whether a delta made it."""
    shorter = repository.get_targetinfo(delta) if here.model.exists() else None
    # Unless less is left of the whole file.
    if shorter is not None and shorter.length < wanted.length - size_of(_partial(here, wanted)):
        try:
            data = apply_delta(here.data(), _fetched(base, fetcher, here, shorter))
            wanted.verify_length_and_hashes(data)
            return data, True
        except (SqueezekitError, exceptions.LengthOrHashMismatchError, exceptions.DownloadHTTPError) as error:
            say(f"the delta does not lead to version {_version(wanted)} ({error}); fetching the whole file")
            _partial(here, shorter).unlink(missing_ok=True)
    return _fetched(base, fetcher, here, wanted), False


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
        data = partial.read_bytes()
        try:
            about.verify_length_and_hashes(data)
            return data
        except exceptions.LengthOrHashMismatchError:
            partial.unlink()
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
    stays = "nothing was installed, the model in use stays"
    try:
        yield
    except exceptions.UnsignedMetadataError as error:
        raise RunFailed(f"{source}: {error}: too few of the keys that this device trusts have signed it; {stays}") from error
    except exceptions.ExpiredMetadataError as error:
        raise RunFailed(f"{source}: {error}: nobody has renewed it, or somebody holds newer versions back; {stays}") from error
    except exceptions.BadVersionNumberError as error:
        raise RunFailed(f"{source}: {error}: older than, or other than, what was signed; {stays}") from error
    except exceptions.LengthOrHashMismatchError as error:
        raise RunFailed(f"{source}: sent another file than the one that was signed ({error}); {stays}") from error
    except exceptions.DownloadLengthMismatchError as error:
        raise RunFailed(f"{source}: sent more than it may ({error}); {stays}") from error
    except exceptions.SlowRetrievalError as error:
        raise RunFailed(f"{source}: is too slow ({error}); the same command goes on from what has arrived") from error
    except exceptions.DownloadError as error:
        raise RunFailed(f"{source}: cannot be fetched from ({error}); the same command goes on from what has arrived") from error
    except exceptions.RepositoryError as error:
        raise RunFailed(f"{source}: is no repository that can be trusted ({error}); {stays}") from error
