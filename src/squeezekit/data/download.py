"""One known file from any of several addresses: resumed, its rate watched, checked before use."""

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

from squeezekit.system.console import Advance, progress_bar
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.file_lock import one_at_a_time
from squeezekit.system.http_get import http_get

CHUNK = 2**16


@dataclass(frozen=True)
class DownloadLimits:
    """When an address is given up for the next.

    timeout: seconds without a byte. min_rate: bytes/s on average over `window` seconds, below which an address is given up
    while there is another to try.
    """

    timeout: float = 20.0
    min_rate: float = 150_000.0
    window: float = 10.0


class _AddressFailed(Exception):
    """Why an address was given up, in half a sentence; `status` is that of an HTTP error, else 0."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class _AddressSlow(_AddressFailed):
    """The address works, but another may be faster; it is tried again when none is."""


def download(
    target: Path,
    addresses: Sequence[str],
    *,
    size: int,
    md5: str = "",
    sha256: str = "",
    limits: DownloadLimits | None = None,
    otherwise: str = "give --data its path",
) -> Path:
    """Fetch a file of `size` bytes into `target`, unless it is there already; returns `target`.

    Its hex digest is `md5` or `sha256`, one of which is given. All addresses must offer the same bytes. What has arrived is kept
    in `<target>.partial`, from which the next address, or the next start after a kill, goes on. Only a file of the right size
    and digest becomes `target`. `otherwise` is what a user does who has fetched the file another way.

    Raises SqueezekitError when no address gives it; OSError when `target` cannot be written.
    """
    digest = sha256 or md5
    if target.exists() and _is_complete(target, size, digest):
        return target
    partial = target.with_name(target.name + ".partial")
    with one_at_a_time(target.with_name(target.name + ".lock")):
        if target.exists() and _is_complete(target, size, digest):
            return target
        if not (partial.exists() and _is_complete(partial, size, digest)):
            _fetch(partial, addresses, size, digest, limits or DownloadLimits(), otherwise)
        os.replace(partial, target)
    return target


def _fetch(partial: Path, addresses: Sequence[str], size: int, digest: str, limits: DownloadLimits, otherwise: str) -> None:
    """Fill `partial` from the addresses in turn; one that was slow or broke off comes again when the others fail."""
    waiting, slow, reasons = deque(addresses), set[str](), dict[str, str]()
    if _size(partial) >= size:
        partial.unlink()
    while waiting:
        address = waiting.popleft()
        begin = _size(partial)
        try:
            _resume(partial, address, size, limits, has_alternative=bool(waiting) and address not in slow)
            if _is_complete(partial, size, digest):
                return
            partial.unlink()
            reasons[address] = "sent a file with other content"
            # The bytes from before may have been at fault: the address is tried once for the whole file.
            again = begin > 0
        except _AddressSlow as reason:
            reasons[address] = str(reason)
            slow.add(address)
            again = True
        except _AddressFailed as reason:
            reasons[address] = str(reason)
            # At least a hundredth of the file each time, so that this ends.
            again = (_size(partial) - begin) * 100 > size
        if again:
            waiting.append(address)
        _report(address, reasons[address], waiting)
    failures = "; ".join(f"{_host(address)} {reason}" for address, reason in reasons.items())
    raise SqueezekitError(
        f"{partial.stem} could not be downloaded ({failures}): run the same command again, which goes on from what has "
        f"arrived, or fetch the file another way and {otherwise}"
    )


def _resume(partial: Path, address: str, size: int, limits: DownloadLimits, *, has_alternative: bool) -> None:
    """Append to `partial` what it lacks, from one address, until it has `size` bytes."""
    begin = _size(partial)
    print(f"downloading {partial.stem} from {_host(address)}", file=sys.stderr)
    with (
        _response(address, begin, size, limits.timeout) as (response, offset),
        partial.open("r+b" if partial.exists() else "wb") as file,
        progress_bar(f"downloading from {_host(address)}", size, done=begin, in_bytes=True) as advance,
    ):
        file.seek(begin)
        watch = _RateMonitor(limits, has_alternative)
        while begin < size:
            with _network_errors():
                chunk = response.read1(CHUNK)
            if not chunk:
                raise _AddressFailed(f"broke off after {begin:,} of {size:,} bytes")
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
def _response(address: str, begin: int, size: int, timeout: float) -> Iterator[tuple[http.client.HTTPResponse, int]]:
    """The response, and the offset in the file at which it begins: `begin`, or 0 when the server cannot resume."""
    try:
        with _network_errors():
            response = http_get(address, begin, timeout)
    except _AddressFailed as reason:
        # 416: the server's file is shorter than ours. A plain request says how long it is.
        if reason.status != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        with _network_errors():
            response = http_get(address, 0, timeout)
    with response:
        offset = begin if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        if length is not None and length.isdigit() and offset + int(length) != size:
            raise _AddressFailed(f"offers a file of {offset + int(length):,} bytes instead of {size:,}")
        if offset and not response.headers.get("Content-Range", f"bytes {begin}-").startswith(f"bytes {begin}-"):
            raise _AddressFailed("resumes at another place than it was asked to")
        yield response, offset


@contextmanager
def _network_errors() -> Iterator[None]:
    # Not around writing to the disk, whose errors no other address would mend.
    try:
        yield
    except HTTPError as error:
        error.close()
        raise _AddressFailed(f"answered {error.code} {error.reason}", error.code) from error
    except TimeoutError as error:
        raise _AddressFailed("stalled") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise _AddressFailed("stalled" if isinstance(cause, TimeoutError) else f"failed: {cause}") from error


class _RateMonitor:
    """Raises _AddressSlow when too few bytes have come within a window."""

    def __init__(self, limits: DownloadLimits, has_alternative: bool) -> None:
        self._limits, self._has_alternative = limits, has_alternative
        self._since, self._bytes = time.monotonic(), 0

    def check(self, count: int) -> None:
        self._bytes += count
        seconds = time.monotonic() - self._since
        if seconds < self._limits.window:
            return
        if self._has_alternative and self._bytes / seconds < self._limits.min_rate:
            raise _AddressSlow(f"gave only {self._bytes / seconds / 1000:,.0f} kB/s")
        self._since, self._bytes = time.monotonic(), 0


def _host(address: str) -> str:
    """Whom to name in messages: a name and password in front of it are nobody's business."""
    return urlsplit(address).netloc.rpartition("@")[2]


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _is_complete(path: Path, size: int, digest: str) -> bool:
    if path.stat().st_size != size:
        return False
    algorithm = "md5" if len(digest) == 32 else "sha256"
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest() == digest


def _report(address: str, reason: str, waiting: deque[str]) -> None:
    further = f"; going on with {_host(waiting[0])}" if waiting else ""
    print(f"{_host(address)} {reason}{further}", file=sys.stderr)
