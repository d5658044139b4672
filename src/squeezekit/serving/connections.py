"""Connections that one client cannot make expensive for the others: what it sends outside of bodies is bounded, and its time.

uvicorn bounds neither: it keeps a head of any length and any number of pipelined requests, for any time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes of a head, of trailers, and of what is between chunks beyond an eighth of them.
MAX_OUTSIDE_BYTES = 2**14
# So many are parsed before they are counted.
PIECE = 2**12
MAX_PIPELINED = 32
# A client may read its refusal for so long while it still sends, and the last answer of its connection.
REFUSAL_SECONDS, LAST_ANSWER_SECONDS = 5.0, 60.0


@dataclass(frozen=True)
class ConnectionLimits:
    """At most so many `connections` at once, and `seconds` for the head of a request to arrive."""

    seconds: float
    connections: int


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with limits: refuses with 408, 431 or 503, or closes the connection where an answer is under way."""

    def __init__(self, limits: ConnectionLimits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._ended = False
        self._outside = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Too many connections are refused at once."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self._limits.connections:
            self._refuse(503, f"more than {self._limits.connections:,} connections; try again")
            # Without waiting for the client: there may be many.
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._ended = True
        self._await_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse piece by piece, as long as the pieces are within the limits."""
        for at in range(0, len(data), PIECE):
            if self._ended:
                return
            piece = data if len(data) <= PIECE else data[at : at + PIECE]
            self._outside += len(piece)
            super().data_received(piece)
            if self._outside > MAX_OUTSIDE_BYTES:
                self._refuse(431, f"more than {MAX_OUTSIDE_BYTES:,} bytes outside of the body; send fewer headers")
            elif len(self.pipeline) > MAX_PIPELINED:
                self._refuse(503, "too many requests at once")
        self._await_head()

    def on_headers_complete(self) -> None:
        """The limit begins again."""
        super().on_headers_complete()
        self._outside = 0
        # uvicorn would append trailers to the headers of a request that has begun.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Bytes of the body are bounded by whoever reads it, unless they come in the smallest chunks."""
        self._outside = max(self._outside - len(body) - len(body) // 8, 0)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """A body that was not waited for is not read for as long as the client sends it."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._close_after_reading()

    def send_400_response(self, msg: str) -> None:
        """As the other refusals."""
        self._refuse(400, "not a request that can be read; send HTTP/1.1")

    def timeout_keep_alive_handler(self) -> None:
        """A client that never reads does not keep its last answer waiting for ever."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(LAST_ANSWER_SECONDS, self.transport.abort)

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

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, where no other answer is under way, and end the connection."""
        if self._ended or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or self.pipeline:
                self._ended = True
                self.transport.close()
                return
            # The request in progress gets this answer in place of its own.
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


def connection_factory(limits: ConnectionLimits) -> Callable[..., BoundedConnection]:
    """What uvicorn's `http` setting takes: makes the protocol of a connection."""
    return partial(BoundedConnection, limits)
