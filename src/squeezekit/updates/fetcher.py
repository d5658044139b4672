"""Downloads from a web server or a folder: counted, limited in length and time, resumed where they broke off."""

from __future__ import annotations

import http.client
import queue
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

# Offsets in a file and the bytes there.
Chunks = Generator[tuple[int, bytes], None, None]
ReadAhead = queue.Queue[tuple[int, bytes] | Exception | None]
CHUNK = 1 << 14
CHUNKS_AHEAD = 16


@dataclass(frozen=True)
class FetchLimits:
    """A server that sends less than `min_rate` bytes/s over `window` seconds is given up; 9.6 kbit/s is 1,200 bytes/s."""

    min_rate: float = 100.0
    window: float = 30.0


class Fetcher(FetcherInterface):
    """The fetcher of python-tuf; `fetched` counts the bytes of bodies."""

    def __init__(self, limits: FetchLimits | None = None) -> None:
        self._limits, self.fetched = limits or FetchLimits(), 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        return (chunk for _, chunk in self._chunks(url, 0))

    def append(self, url: str, path: Path, length: int) -> Iterator[int]:
        """Append to `path`, which may hold a beginning of the file, up to `length` bytes; yields the bytes of each chunk.

        Raises DownloadError when the server ends early, offers more, is slow or refuses.
        """
        with path.open("ab") as file:
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
    headers = {"User-Agent": "squeezekit", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    with _network_errors(), urlopen(Request(url, headers=headers), timeout=timeout) as response:
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
    """The prefix of all addresses in a repository; raises SqueezekitError for what is no http or https address and no folder."""
    if _is_remote(source):
        try:
            urlsplit(source)
        except ValueError as error:
            raise SqueezekitError(f"{source}: is no address ({error}); give one like https://models.example.org") from None
        return source.rstrip("/")
    folder = expanded(source)
    if not folder.is_dir():
        raise SqueezekitError(f"{source}: is neither an http:// or https:// address nor a folder; give one of them")
    return str(folder)


def _is_remote(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _from_folder(url: str, begin: int) -> Chunks:
    """The same from a folder, such as a memory card that carries a repository."""
    try:
        with Path(url).open("rb") as file:
            file.seek(begin)
            while chunk := file.read(CHUNK):
                yield begin, chunk
                begin += len(chunk)
    except FileNotFoundError as error:
        raise DownloadHTTPError("it is not there", http.HTTPStatus.NOT_FOUND) from error
    except OSError as error:
        raise DownloadError(error.strerror or str(error)) from error
