"""Files that survive a kill at any instant: written aside, flushed to disk, then renamed into place."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import RunFailed


class NotWritten(RunFailed):
    """What has been done cannot be kept: the disk is full, a quota is used up, the drive is gone."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` for writing; on success it takes the place of `path` in one step.

    A reader sees the old content or the new, never a part. When the block raises, `path` is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        move(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def kept(place: Path, way_on: str) -> Iterator[None]:
    """Raise NotWritten where a file cannot be written inside; its sentence names `place` and ends with `way_on`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # torch.save has an error of its own for what the system has said.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        if cause is None:
            raise
        raise NotWritten(f"{place}: cannot be written ({cause.strerror or cause}); put that right, then {way_on}") from error


def disk_is_full(error: OSError) -> bool:
    """Whether there is no room: on the disk, in a quota, in a file of the largest size that is allowed."""
    return error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG)


def move(aside: Path, path: Path) -> None:
    """Give a file that is on disk the name `path`, in the place of any that has it, in one step."""
    os.replace(aside, path)
    _flush_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, all or nothing."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, all or nothing."""
    write_bytes(path, content.encode())


def write_folder(path: Path, files: Mapping[str, str | bytes]) -> None:
    """Write a folder that holds `files`, texts or bytes by name, and nothing else, in the place of any that is there.

    A reader sees the old folder or the new one; only where the system cannot exchange two names, for an instant neither.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        aside.mkdir(parents=True)
        for name, content in files.items():
            write_bytes(aside / name, content if isinstance(content, bytes) else content.encode())
        if path.exists() and not _exchanged(aside, path):
            os.replace(path, path.with_name(f"{aside.name}.old"))
        if aside.exists() and not path.exists():
            os.replace(aside, path)
        _flush_folder(path.parent)
    finally:
        for left in (aside, path.with_name(f"{aside.name}.old")):
            shutil.rmtree(left, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Give each of two paths the other's name in one step, if the system can."""
    exchange, here = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux.
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    return renameat2 is not None and renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _flush_folder(folder: Path) -> None:
    # A rename is only durable once the folder itself is on disk; Windows cannot open folders.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
