"""Connections that one client cannot make expensive for the others: what it sends outside of bodies is bounded, and its time.

uvicorn bounds neither by itself. With httptools it keeps a head of any length and any number of pipelined requests; with h11 it
lets a client take any time.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    # What uvicorn's protocols have in common, without which they could not be typed.
    _Protocol = H11Protocol
else:
    _Protocol = object

# Bytes of a head, of trailers, and of what is between chunks.
HEAD_BYTES = 2**14
# So many are parsed at a time.
PIECE = 2**12
MAX_PIPELINED = 32
# A client may read its refusal for so long while it still sends, and the last answer of its connection.
REFUSAL_SECONDS, LAST_ANSWER_SECONDS = 5.0, 60.0


@dataclass(frozen=True)
class ConnectionLimits:
    """At most so many `connections` at once, and `seconds` for the head of a request to arrive."""

    seconds: float
    connections: int


class _Bounded(_Protocol):
    """Either of uvicorn's protocols, with limits; a mixin, since uvicorn has no common class."""

    def __init__(self, limits: ConnectionLimits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self._limits.connections:
            self._refuse(503, f"more than {self._limits.connections:,} connections; try again")
            # Without waiting for the client: there may be many.
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._await_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            super().data_received(data)
        except Exception:
            # Whatever a parser trips over; h11 does over a Content-Length of 5,000 digits.
            self.send_400_response("")
        self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Also for what is too long, as the parser's exception says."""
        status = getattr(sys.exception(), "error_status_hint", 400)
        if status == 431:
            self._refuse_head()
        else:
            self._refuse(status, "not a request that can be read; send HTTP/1.1")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            # Answered before its body has arrived, which would be read for as long as the client sends.
            self._close_after_reading()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # A client that never reads keeps its last answer waiting.
        self.loop.call_later(LAST_ANSWER_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        if self._ended:
            self.transport.close()
        else:
            super().shutdown()

    def _await_head(self) -> None:
        """The time for a head runs while none is complete."""
        waiting = not self._ended and (self.cycle is None or self.cycle.response_complete)
        if waiting and self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.seconds, self._refuse_slow)
        elif not waiting and self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_slow(self) -> None:
        self._refuse(408, f"the head of the request took more than {self._limits.seconds:g} s to arrive; send it faster")

    def _refuse_head(self) -> None:
        self._refuse(431, f"more than {HEAD_BYTES:,} bytes outside of the body; send fewer headers")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, where no other answer is under way, and end the connection."""
        if self._ended or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or getattr(self, "pipeline", None):
                self._ended = True
                self.transport.close()
                return
            # The request in progress gets this answer instead of its own.
            cycle.disconnected = True
            cycle.message_event.set()
        body = json.dumps({"detail": detail}).encode()
        own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
        lines += [name + b": " + value for name, value in [*self.server_state.default_headers, *own]]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self._close_after_reading()

    def _close_after_reading(self) -> None:
        """Send the end, and read on for a while: a connection closed with bytes unread takes the answer with it."""
        self._ended = True
        self._await_head()
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(REFUSAL_SECONDS, self.transport.abort)


class _H11Connection(_Bounded, H11Protocol):
    """h11 bounds heads, chunks and trailers itself (`h11_max_incomplete_event_size`), and reads one request at a time."""


def connection_factory(limits: ConnectionLimits) -> Any:
    """What uvicorn's `http` setting takes: makes the protocol of a connection, with httptools where it is installed."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return partial(_H11Connection, limits)

    class HttpToolsConnection(_Bounded, HttpToolsProtocol):  # type: ignore[misc]
        """Bounds heads, chunks, trailers and pipelined requests, none of which httptools does."""

        _outside = 0

        def data_received(self, data: bytes) -> None:
            for at in range(0, len(data), PIECE):
                piece = data if len(data) <= PIECE else data[at : at + PIECE]
                self._outside += len(piece)
                super().data_received(piece)
                if self._outside > HEAD_BYTES:
                    self._refuse_head()
                elif len(self.pipeline) > MAX_PIPELINED:
                    self._refuse(503, "")

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self._outside = 0
            # uvicorn would append trailers to the headers of a request that has begun.
            self.headers = []

        def on_body(self, body: bytes) -> None:
            self._outside = 0
            super().on_body(body)

    return partial(HttpToolsConnection, limits)
