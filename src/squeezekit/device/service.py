"""The HTTP service of a device: one picture a request, by the standard library alone, bounded in bytes, pixels, time and number.

`POST /v1/classify` answers as that of `squeezekit serve`; `GET /v1/model` names the classes, `GET /healthz` says that it runs.
"""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..data.image_file import MOST_PIXELS, TooManyPixelsError
from ..system.errors import RunFailed, SqueezekitError
from .answers import answer_as_json
from .classifier import DeviceClassifier

CLASSIFY, MODEL, HEALTH = "/v1/classify", "/v1/model", "/healthz"


@dataclass(frozen=True)
class ServiceLimits:
    """What a request may be: bytes of its picture, `max_pixels` of it, and `seconds` for all of it, the answer included.

    Of `max_connections` at once, each is one request; more are answered with 503.
    """

    max_bytes: int = 16 << 20
    max_pixels: int = 25_000_000
    seconds: float = 10.0
    max_connections: int = 8

    def __post_init__(self) -> None:
        for name, number, most in (
            ("max-bytes", self.max_bytes, 1 << 30),
            ("max-pixels", self.max_pixels, MOST_PIXELS),
            ("seconds", self.seconds, 3600),
            ("max-connections", self.max_connections, 1024),
        ):
            if not 0 < number <= most:
                raise SqueezekitError(f"--{name} {number:g}: give more than 0, and at most {most:,}")


class DeviceService(ThreadingHTTPServer):
    """Listens at `address`; `serve_forever` answers. Raises SqueezekitError where the address cannot be had."""

    daemon_threads = True
    # On Linux, a port that a service that has ended was listening at.
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], classifier: DeviceClassifier, limits: ServiceLimits) -> None:
        self.classifier, self.limits = classifier, limits
        # Decoding a picture takes more memory than all else.
        self.one_at_a_time = threading.Lock()
        self._free = threading.BoundedSemaphore(limits.max_connections)
        # A thread serves one connection.
        self.connection = threading.local()
        try:
            super().__init__(address, _Handler)
        except (OSError, OverflowError, TypeError, UnicodeError) as error:
            host, port = address
            raise SqueezekitError(f"{host}:{port}: cannot be listened at ({error}); choose another --host or --port") from None

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread a connection, as many as there may be."""
        if not self._free.acquire(blocking=False):
            # A client that does not read its answer is not waited for.
            request.setblocking(False)
            with suppress(OSError):
                request.send(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            # The system has no thread left.
            self._free.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The whole of a connection, which is ended when its time is over."""
        # No later than the timer ends it.
        self.connection.until = time.monotonic() + self.limits.seconds
        ends = threading.Timer(self.limits.seconds, _end, [request])
        ends.daemon = True
        try:
            ends.start()
            super().process_request_thread(request, client_address)
        except RuntimeError:
            # The system has no thread left to end it.
            self.shutdown_request(request)
        finally:
            ends.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or is too slow, is no error of the service."""


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection: HTTP 1.0 has no second one."""

    server: DeviceService
    server_version, sys_version = "squeezekit-device", ""

    def do_GET(self) -> None:
        model = self.server.classifier.model
        if self.path == HEALTH:
            self._answer(HTTPStatus.OK, {"status": "ok"})
        elif self.path == MODEL:
            side, channels = model.structure.side, model.structure.channels
            self._answer(HTTPStatus.OK, {"classes": model.classes, "image_size": side, "channels": channels})
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is {CLASSIFY} to post a picture to, {MODEL} and {HEALTH}")

    def do_POST(self) -> None:
        if self.path != CLASSIFY:
            return self._refuse(HTTPStatus.NOT_FOUND, f"post a picture to {CLASSIFY}")
        length, limits = self.headers.get("Content-Length", ""), self.server.limits
        if not (length.isascii() and length.isdecimal() and len(length) < 20):
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "send Content-Length")
        if int(length) > limits.max_bytes:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {limits.max_bytes:,} bytes")
        if self.headers.get("Expect", "").lower() == "100-continue":
            # curl waits a second for it before it sends a photo of a megabyte or more.
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        picture = self.rfile.read(int(length))
        if len(picture) < int(length):
            return self._refuse(HTTPStatus.BAD_REQUEST, "the picture broke off")
        turn, until = self.server.one_at_a_time, self.server.connection.until
        if not turn.acquire(timeout=max(until - time.monotonic(), 0)):
            # Nobody is there any more to answer.
            return None
        try:
            if time.monotonic() >= until:
                # Nor where the turn came at that very moment.
                return None
            answer = self.server.classifier.answer(io.BytesIO(picture), max_pixels=limits.max_pixels)
        except TooManyPixelsError as error:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error))
        except SqueezekitError as error:
            of_the_moment = error.exit_code == RunFailed.exit_code
            status = HTTPStatus.SERVICE_UNAVAILABLE if of_the_moment else HTTPStatus.UNPROCESSABLE_ENTITY
            return self._refuse(status, str(error))
        finally:
            turn.release()
        return self._answer(HTTPStatus.OK, {"results": [answer_as_json(answer)]})

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: whoever asks must not fill the disk of a device."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself, such as a method that there is none of."""
        status = HTTPStatus(code)
        self._refuse(status, message or status.phrase)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self._answer(status, {"detail": detail})

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
