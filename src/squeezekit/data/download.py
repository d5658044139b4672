"""One known file from any of several addresses: resumed, timed, and checked before anybody opens it."""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from squeezekit.system.console import Advance, progress_bar
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.file_lock import one_at_a_time

CHUNK = 2**16


@dataclass(frozen=True)
class Patience:
    """When an address is left for the next.

    stall: seconds without a byte. slowest: bytes/s on average over `window` seconds, below which an address is left
    while there is another to try.
    """

    stall: float = 20.0
    slowest: float = 150_000.0
    window: float = 10.0


class _Left(Exception):
    """Why an address was left, in a few words; `status` is that of an HTTP refusal."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class _Slow(_Left):
    """It works, but another may be faster; it is come back to when none is."""


def download(target: Path, addresses: Sequence[str], *, size: int, md5: str, patience: Patience | None = None) -> Path:
    """Fetch a file of `size` bytes and hex digest `md5` into `target`, unless it is there already; returns `target`.

    All addresses must offer the same bytes. What has arrived is kept in `<target>.partial`, from which the next
    address, or the next start after a kill, goes on. Only a file of the right size and digest becomes `target`.

    Raises SqueezekitError when no address gives it; OSError when `target` cannot be written.
    """
    partial = target.with_name(target.name + ".partial")
    with one_at_a_time(target.with_name(target.name + ".lock")):
        if target.exists() and _is_right(target, size, md5):
            return target
        if not (partial.exists() and _is_right(partial, size, md5)):
            _fetch(partial, addresses, size, md5, patience or Patience())
        os.replace(partial, target)
    return target


def _fetch(partial: Path, addresses: Sequence[str], size: int, md5: str, patience: Patience) -> None:
    """Fill `partial` from the addresses in turn; one that was slow or broke off comes again when the others fail."""
    waiting, slow, reasons = deque(addresses), set[str](), dict[str, str]()
    if _arrived(partial) >= size:
        partial.unlink()
    while waiting:
        address = waiting.popleft()
        begin = _arrived(partial)
        try:
            _continue(partial, address, size, patience, may_leave=bool(waiting) and address not in slow)
            if _is_right(partial, size, md5):
                return
            partial.unlink()
            reasons[address] = "sent a file with other content"
            # What was there before may have been at fault: such an address has not had its own chance yet.
            again = begin > 0
        except _Slow as reason:
            reasons[address] = str(reason)
            slow.add(address)
            again = True
        except _Left as reason:
            reasons[address] = str(reason)
            # A hundredth of the file each time, so that this ends.
            again = (_arrived(partial) - begin) * 100 > size
        if again:
            waiting.append(address)
        _say_left(address, reasons[address], waiting)
    told = "; ".join(f"{urlsplit(address).netloc} {reason}" for address, reason in reasons.items())
    raise SqueezekitError(
        f"{partial.stem} could not be downloaded ({told}): run the same command again, which goes on from what has "
        "arrived, or fetch the file another way and give --data its path"
    )


def _continue(partial: Path, address: str, size: int, patience: Patience, *, may_leave: bool) -> None:
    """Append to `partial` what it lacks, from one address, until it has `size` bytes."""
    begin = _arrived(partial)
    print(f"downloading {partial.stem} from {urlsplit(address).netloc}", file=sys.stderr)
    with (
        _opened(address, begin, size, patience.stall) as (response, offset),
        partial.open("r+b" if partial.exists() else "wb") as file,
        progress_bar(f"downloading from {urlsplit(address).netloc}", size, done=begin, in_bytes=True) as advance,
    ):
        file.seek(begin)
        watch = _Stopwatch(patience, may_leave)
        while begin < size:
            with _network():
                chunk = response.read1(CHUNK)
            if not chunk:
                raise _Left(f"broke off after {begin:,} of {size:,} bytes")
            watch.check(len(chunk))
            # A server that cannot resume sends from the start what is here already.
            new = chunk[max(begin - offset, 0) :][: size - begin]
            offset += len(chunk)
            _append(file, new, advance)
            begin += len(new)
        os.fsync(file.fileno())


def _append(file: BinaryIO, new: bytes, advance: Advance) -> None:
    file.write(new)
    file.flush()
    advance(len(new))


@contextmanager
def _opened(address: str, begin: int, size: int, stall: float) -> Iterator[tuple[http.client.HTTPResponse, int]]:
    """The response, and the place in the file at which it begins: `begin`, or 0 when the server cannot resume."""
    try:
        with _network():
            response = _ask(address, begin, stall)
    except _Left as reason:
        # 416: the server's file ends before ours begins. Its length, asked for plainly, will say whether it is ours.
        if reason.status != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        with _network():
            response = _ask(address, 0, stall)
    with response:
        offset = begin if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        if length is not None and length.isdigit() and offset + int(length) != size:
            raise _Left(f"offers a file of {offset + int(length):,} bytes instead of {size:,}")
        if offset and not response.headers.get("Content-Range", f"bytes {begin}-").startswith(f"bytes {begin}-"):
            raise _Left("resumes at another place than it was asked to")
        yield response, offset


def _ask(address: str, begin: int, stall: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": "squeezekit", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    response: http.client.HTTPResponse = urlopen(Request(address, headers=headers), timeout=stall)
    return response


@contextmanager
def _network() -> Iterator[None]:
    # Kept apart from writing to the disk, whose errors no other address would mend.
    try:
        yield
    except HTTPError as error:
        error.close()
        raise _Left(f"answered {error.code} {error.reason}", error.code) from error
    except TimeoutError as error:
        raise _Left("stalled") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise _Left("stalled" if isinstance(cause, TimeoutError) else f"failed: {cause}") from error


class _Stopwatch:
    """Raises _Slow when a window has passed with too few bytes."""

    def __init__(self, patience: Patience, may_leave: bool) -> None:
        self._patience, self._may_leave = patience, may_leave
        self._since, self._bytes = time.monotonic(), 0

    def check(self, count: int) -> None:
        self._bytes += count
        seconds = time.monotonic() - self._since
        if seconds < self._patience.window:
            return
        if self._may_leave and self._bytes / seconds < self._patience.slowest:
            raise _Slow(f"gave only {self._bytes / seconds / 1000:,.0f} kB/s")
        self._since, self._bytes = time.monotonic(), 0


def _arrived(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _is_right(path: Path, size: int, md5: str) -> bool:
    if path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def _say_left(address: str, reason: str, waiting: deque[str]) -> None:
    further = f"; going on with {urlsplit(waiting[0]).netloc}" if waiting else ""
    print(f"{urlsplit(address).netloc} {reason}{further}", file=sys.stderr)
