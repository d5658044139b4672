"""An output folder is one process's as long as that process works in it.

The claim is a lock on a small file in the folder, which the system lets go when its holder ends, however it ends.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from squeezekit.system.atomic_io import NotWritten, disk_is_full
from squeezekit.system.errors import SqueezekitError

LOCK = ".in-use"
# Windows lets nobody read the bytes that are locked: those stand behind the text.
LOCKED_BYTE = 2**20
# Of making a file in a folder that others remove meanwhile.
MOST_TRIES = 1000


class InUse(SqueezekitError):
    """Another process, or another call in this one, has the folder."""


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Make `folder` where it is missing, and hold it inside the block; what is empty at the end and was made here goes away.

    Raises InUse when somebody else holds it, SqueezekitError where there is no such folder to write in.
    """
    if not _is_text(folder):
        raise SqueezekitError(f"{folder}: its name is not UTF-8; choose another --out")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with held(folder / LOCK, folder):
            yield folder
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


@contextmanager
def claimed_by_date(parent: Path) -> Iterator[Path]:
    """A new folder `DATE-TIME` in `parent`, held inside the block; `-2` and so on behind the name that is taken."""
    name = time.strftime("%Y%m%d-%H%M%S")
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    with ExitStack() as stack:
        for folder in map(parent.joinpath, names):
            with suppress(InUse):
                if not folder.exists():
                    stack.enter_context(claimed(folder))
                    break
        yield folder


@contextmanager
def held(lock: Path, name: Path) -> Iterator[None]:
    """Hold the file `lock` inside the block, and remove it then; `name` is what messages call the thing."""
    try:
        descriptor = _held(lock, name)
    except OSError as error:
        kind = NotWritten if disk_is_full(error) else SqueezekitError
        raise kind(f"{name}: cannot be made or written ({error.strerror}); choose another --out") from None
    try:
        yield
    finally:
        if sys.platform == "win32":
            os.close(descriptor)
        # It may be another process's by now, where the folder has been moved away.
        if sys.platform == "win32" or _is_at(descriptor, lock):
            with suppress(OSError):
                lock.unlink()
        if sys.platform != "win32":
            os.close(descriptor)


def holds_files(folder: Path) -> bool:
    """Whether anything but a claim is in a folder; a file is no empty folder."""
    return not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())


def _held(lock: Path, name: Path) -> int:
    tries = 0
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor, new = _opened(lock)
        except FileNotFoundError:
            # An earlier holder has removed the empty folder meanwhile; some folders of the system never take a file.
            tries += 1
            if tries == MOST_TRIES:
                raise
            continue
        locked = _lock(descriptor)
        if locked is False or (locked is None and not new):
            holder = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
            os.close(descriptor)
            no_locks = "" if locked is False else f"; if that has ended, delete {lock}"
            raise InUse(f"{name}: is in use by {holder}; wait for its end or choose another --out{no_locks}")
        if _is_at(descriptor, lock):
            break
        # An earlier holder has removed the file before the lock was ours.
        os.close(descriptor)
    # Who it is, for messages alone.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor


def _opened(lock: Path) -> tuple[int, bool]:
    """The file's descriptor, and whether the file is new."""
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOINHERIT", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        return os.open(lock, flags | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(lock, flags, 0o666), False


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool | None:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool | None:
        """Whether it is locked now; None where the drive has no locks: there a file that exists is somebody's."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
        return True
