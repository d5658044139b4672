"""Who may ask a service: by which names it is called, with which token, and what becomes of a request that fails inside."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import socket
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError

ANY = "*"
MAX_HEADERS = 100
MOST_REMEMBERED = 64
# At module level, where FastAPI resolves annotations.
BEARER = HTTPBearer(auto_error=False)
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


class ServiceNames:
    """The names by which a service may be called; any address is one.

    A page of another site that gives its own name this machine's address (DNS rebinding) could otherwise ask in its visitor's
    place, and read the answers. `bound` is the address that the service listens on, `more` are names that were allowed, "*" for
    all. Raises SqueezekitError for what is no name.
    """

    def __init__(self, bound: str, more: Iterable[str] = ()) -> None:
        for name in more:
            if name != ANY and not re.fullmatch(r"[A-Za-z0-9._-]+", name):
                raise SqueezekitError(f"--allow-host {name}: is no name of a machine; give it without http:// and port, or '*'")
        own = socket.gethostname()
        self._names = {_plain(name) for name in ("localhost", bound, own, own.partition(".")[0], *more)}

    def include(self, host: str) -> bool:
        """Whether a service may be called by `host`, without its port."""
        name = _plain(host)
        return name in self._names or ANY in self._names or name.endswith(".localhost") or _is_address(name)

    def __str__(self) -> str:
        return ", ".join(sorted(name for name in self._names if name and not _is_address(name)))


class Admission:
    """Refuses requests by a foreign name or with too many headers; says in one line what failed inside, and goes on."""

    def __init__(self, app: ASGIApp, names: ServiceNames) -> None:
        self._app, self._names = app, names
        # What clients call it, again and again.
        self._welcome: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if refused := self._refused(scope):
            return await refused(scope, receive, send)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # What has begun to be answered cannot be answered again.
            with suppress(RuntimeError):
                await _problem(503, "the service ends; try again")(scope, receive, send)
        except Exception as error:
            # It has been answered with 500.
            place = traceback.extract_tb(error.__traceback__)[-1]
            line = f"{type(error).__name__}: {error}".replace("\n", " ")[:500]
            say(f"a request failed: {line} ({Path(place.filename).name}, line {place.lineno})")

    def _refused(self, scope: Scope) -> JSONResponse | None:
        if len(scope["headers"]) > MAX_HEADERS:
            return _problem(431, f"more than {MAX_HEADERS} headers; send fewer")
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and hosts[0] in self._welcome:
            return None
        if not hosts and scope["http_version"] == "1.0":
            return None
        found = HOST.fullmatch(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
        if found is None:
            return _problem(400, "the request has not one Host that is a name or an address")
        if not self._names.include(found[1]):
            name = found[1][:253]
            return _problem(
                421, f"the service does not go by the name {name}; use its address, or start it with --allow-host {name}"
            )
        if len(self._welcome) < MOST_REMEMBERED:
            self._welcome.add(hosts[0])
        return None


def token_check(token: str) -> Callable[..., None]:
    """A dependency that raises HTTPException unless a request carries the token, in UTF-8 or, where it fits, Latin-1."""
    # A header's bytes arrive as the characters of Latin-1.
    sent_as = [token.encode()]
    with suppress(UnicodeEncodeError):
        sent_as.append(token.encode("latin-1"))

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> None:
        credentials = given.credentials.encode("latin-1") if given else b""
        # All of them, so that the time tells nothing.
        matches = [hmac.compare_digest(credentials, one) for one in sent_as]
        if not any(matches):
            raise HTTPException(401, "give the service's token: Authorization: Bearer …", headers={"WWW-Authenticate": "Bearer"})

    return check


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
