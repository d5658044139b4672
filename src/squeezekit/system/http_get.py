"""One way to ask a web server for a file, or the rest of one."""

from __future__ import annotations

import http.client
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

HANDLERS = (
    *(ProxyHandler, UnknownHandler, HTTPHandler, HTTPSHandler),
    *(HTTPDefaultErrorHandler, HTTPRedirectHandler, HTTPErrorProcessor),
)


def http_get(address: str, begin: int, timeout: float) -> http.client.HTTPResponse:
    """The response for what lies at `address`, from byte `begin` on where the server can resume (then its status is 206).

    `timeout` is in seconds without a byte. As `urlopen`, but whatever an address redirects to is fetched by HTTP too, never by
    FTP or from a file. Raises OSError (HTTPError for a status that is none of success), HTTPException, ValueError.
    """
    opener = OpenerDirector()
    for handler in HANDLERS:
        opener.add_handler(handler())
    headers = {"User-Agent": "squeezekit", "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    response: http.client.HTTPResponse = opener.open(Request(address, headers=headers), timeout=timeout)
    return response
