"""Downloads from a web server or a folder: counted, limited in length and time, resumed where they broke off."""

from __future__ import annotations

import http.client
import os
import queue
import re
import stat
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from ..system.errors import SqueezekitError
from ..system.http_get import http_get
from ..system.outside_files import open_at_once
from ..system.paths import expanded

# Offsets in a file and the bytes there.
Chunks = Generator[tuple[int, bytes], None, None]
ReadAhead = queue.Queue[tuple[int, bytes] | Exception | None]
CHUNK = 1 << 14
CHUNKS_AHEAD = 16
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Of the metadata of one role, whatever length somebody has signed.
MOST_METADATA_BYTES = 1 << 20
# No link is followed out of a device's folder.
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class FetchLimits:
    """A server that sends less than `min_rate` bytes/s over `window` seconds is given up; 9.6 kbit/s is 1,200 bytes/s.

    Raises SqueezekitError for a rate that is none.
    """

    min_rate: float = 100.0
    window: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_rate < float("inf"):
            raise SqueezekitError(f"--slowest {self.min_rate:g}: give 0 or more bytes/s")


class Fetcher(FetcherInterface):
    """The fetcher of python-tuf; `fetched` counts the bytes of bodies."""

    def __init__(self, limits: FetchLimits | None = None) -> None:
        self._limits, self.fetched = limits or FetchLimits(), 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        count = 0
        for _, chunk in self._chunks(url, 0):
            count += len(chunk)
            if count > MOST_METADATA_BYTES:
                raise DownloadLengthMismatchError(f"more than {MOST_METADATA_BYTES} bytes of metadata")
            yield chunk

    def append(self, url: str, path: Path, length: int) -> Iterator[int]:
        """Append to `path`, which may hold a beginning of the file, up to `length` bytes; yields the bytes of each chunk.

        Raises DownloadError when the server ends early, offers more, is slow or refuses.
        """
        with os.fdopen(os.open(path, APPEND, 0o666), "ab") as file:
            begin = file.tell()
            chunks = self._chunks(url, begin)
            with closing(chunks):
                for offset, chunk in chunks:
                    # A server that cannot resume sends from the start what is here already.
                    new = chunk[max(begin - offset, 0) :]
                    if begin + len(new) > length:
                        raise DownloadLengthMismatchError(f"more than {length} bytes")
                    file.write(new)
                    file.flush()
                    begin += len(new)
                    yield len(new)
        if begin < length:
            raise DownloadError(f"it broke off after {begin} of {length} bytes")

    def _chunks(self, url: str, begin: int) -> Chunks:
        """Offsets and bytes, from `begin` on, or from 0 when the server cannot resume."""
        for offset, chunk in self._read_in_thread(url, begin):
            self.fetched += len(chunk)
            yield offset, chunk

    def _read_in_thread(self, url: str, begin: int) -> Chunks:
        """A thread reads, so that a server that sends single bytes, in headers or elsewhere, is noticed."""
        source = _from_server(url, begin, self._limits.window) if _is_remote(url) else _from_folder(url, begin)
        arrived: ReadAhead = queue.Queue(CHUNKS_AHEAD)
        ended = threading.Event()
        threading.Thread(target=_read_ahead, args=(source, arrived, ended), daemon=True).start()
        try:
            yield from self._in_time(arrived)
        finally:
            ended.set()

    def _in_time(self, arrived: ReadAhead) -> Chunks:
        min_rate, window = self._limits.min_rate, self._limits.window
        since, count = time.monotonic(), 0
        while True:
            try:
                piece = arrived.get(timeout=max(since + window - time.monotonic(), 0.01))
            except queue.Empty:
                piece = 0, b""
            if piece is None:
                return
            if isinstance(piece, Exception):
                raise piece
            count += len(piece[1])
            if time.monotonic() - since >= window:
                if count < min_rate * window:
                    raise SlowRetrievalError(f"only {count} bytes in {window:g} seconds")
                since, count = time.monotonic(), 0
            if piece[1]:
                yield piece


def _read_ahead(source: Chunks, arrived: ReadAhead, ended: threading.Event) -> None:
    def put(piece: tuple[int, bytes] | Exception | None) -> bool:
        while not ended.is_set():
            try:
                arrived.put(piece, timeout=0.5)
                return True
            except queue.Full:
                continue
        return False

    try:
        with closing(source):
            for piece in source:
                if not put(piece):
                    return
        put(None)
    except Exception as error:
        put(error)


def _from_server(url: str, begin: int, timeout: float) -> Chunks:
    with _network_errors(), http_get(url, begin, timeout) as response:
        offset = begin if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        if offset and not response.headers.get("Content-Range", f"bytes {begin}-").startswith(f"bytes {begin}-"):
            raise DownloadError("it resumes at another offset than it was asked to")
        length = response.headers.get("Content-Length", "")
        end = offset + int(length) if length.isdecimal() else None
        while chunk := response.read1(CHUNK):
            yield offset, chunk
            offset += len(chunk)
        if end is not None and offset < end:
            raise DownloadError(f"it broke off after {offset} of {end} bytes")


@contextmanager
def _network_errors() -> Iterator[None]:
    try:
        yield
    except HTTPError as error:
        error.close()
        raise DownloadHTTPError(f"it answered {error.code} {error.reason}", error.code) from error
    except TimeoutError as error:
        raise SlowRetrievalError("it stalled") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, TimeoutError):
            raise SlowRetrievalError("it stalled") from error
        raise DownloadError(f"{cause}") from error


def base_address(source: str) -> str:
    """The prefix of all addresses in a repository; raises SqueezekitError for what is no http or https address and no folder.

    An address with a user name and a password is refused: it would end in the list of processes, in logs and in messages.
    """
    folder = expanded(source)
    if not SCHEME.match(source) and folder.is_dir():
        return str(folder)
    harmless = re.sub(r"[?#].*", "", re.sub(r"//.*@", "//", source, flags=re.DOTALL), flags=re.DOTALL)
    if not _is_remote(source):
        raise SqueezekitError(f"{harmless}: is neither an http:// or https:// address nor a folder; give one of them")
    try:
        found = urlsplit(source)
        if not found.hostname or found.port == 0:
            raise ValueError("it names no host")
    except ValueError as error:
        # What cannot be read may be part of a password.
        reason = error if harmless == source else "its host or port cannot be read"
        raise SqueezekitError(f"{harmless}: is no address ({reason}); give one like https://models.example.org") from None
    if "@" in found.netloc or found.query or found.fragment:
        raise SqueezekitError(f"{harmless}: give the address like this, without a user name, a password or anything after ?")
    return source.rstrip("/")


def _is_remote(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _from_folder(url: str, begin: int) -> Chunks:
    """The same from a folder, such as a memory card that carries a repository."""
    try:
        descriptor = open_at_once(url)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DownloadError("it is not a file")
            file.seek(begin)
            while chunk := file.read(CHUNK):
                yield begin, chunk
                begin += len(chunk)
    except FileNotFoundError as error:
        raise DownloadHTTPError("it is not there", http.HTTPStatus.NOT_FOUND) from error
    except (OSError, ValueError) as error:
        # A name with a zero byte is a ValueError.
        raise DownloadError(getattr(error, "strerror", None) or str(error)) from error
