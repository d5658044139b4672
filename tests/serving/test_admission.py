"""Who may ask: names, tokens, and what a failed request leaves behind."""

import asyncio
import json
import socket

import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed; pip install 'squeezekit[serve]'")

from fastapi import HTTPException
from fastapi.security import HTTPAuthorizationCredentials

from squeezekit import SqueezekitError
from squeezekit.serving.admission import MAX_HEADERS, Admission, ServiceNames, token_check


def asked(app, *headers, version="1.1", names=None):
    """Status and detail of a request with these headers; the status alone where it is answered."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": list(headers), "http_version": version, "path": "/", "method": "GET"}
    asyncio.run(Admission(app, names or ServiceNames("127.0.0.1"))(scope, None, send))
    return sent[0]["status"], json.loads(sent[1]["body"] or b"{}").get("detail", "")


async def fine(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "localhost.", "photos.localhost", "127.0.0.1:1", "[::1]:8000", "192.168.1.7"]
)
def test_addresses_and_names_of_this_machine(host):
    """An address is no name that another site could give to this machine."""
    assert asked(fine, (b"host", host.encode())) == (200, "")


def test_other_names_are_refused_until_they_are_allowed():
    foreign = (b"host", b"attacker.example:8000")
    status, detail = asked(fine, foreign)
    assert status == 421 and "attacker.example; use its address, or start it with --allow-host attacker.example" in detail
    assert asked(fine, foreign, names=ServiceNames("127.0.0.1", ["attacker.Example"]))[0] == 200
    assert asked(fine, foreign, names=ServiceNames("127.0.0.1", ["*"]))[0] == 200
    assert asked(fine, foreign, names=ServiceNames("attacker.example"))[0] == 200
    assert asked(fine, (b"host", b"localhost.attacker.example"))[0] == 421
    assert asked(fine, (b"host", socket.gethostname().encode()), names=ServiceNames("0.0.0.0"))[0] == 200
    for wrong in ("http://a", "a:80", "a b", ""):
        with pytest.raises(SqueezekitError, match="is no name of a machine"):
            ServiceNames("127.0.0.1", [wrong])
    assert str(ServiceNames("0.0.0.0", ["photos"])).count("photos") == 1 and "0.0.0.0" not in str(ServiceNames("0.0.0.0"))


def test_a_request_has_one_host_and_few_headers():
    local = (b"host", b"localhost")
    for wrong in ([], [local, local], [(b"host", b"")], [(b"host", b"a/b")], [(b"host", b"[::1")], [(b"host", b"caf\xe9")]):
        assert asked(fine, *wrong)[0] == 400
    assert asked(fine, version="1.0")[0] == 200
    assert asked(fine, local, *[(b"a", b"b")] * MAX_HEADERS) == (431, "more than 100 headers; send fewer")


def test_what_fails_inside_is_one_line_and_what_is_cut_off_is_answered(capsys):
    async def failing(scope, receive, send):
        await fine(scope, receive, send)
        raise ValueError("several\nlines \x1b[31m")

    async def cut_off(scope, receive, send):
        raise asyncio.CancelledError

    assert asked(failing, (b"host", b"localhost"))[0] == 200
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a request failed: ValueError: several lines \\x1b[31m (test_admission.py, line ")
    assert asked(cut_off, (b"host", b"localhost")) == (503, "the service ends; try again")


@pytest.mark.parametrize("token", ["geheim", "sécret", "秘密"])
def test_tokens_are_any_text(token):
    """curl sends what the terminal has, other clients Latin-1."""
    check = token_check(token)
    check(given(token.encode()))
    for wrong in (b"", b"s", token.encode()[:-1], token.encode() + b"x", "sécreT".encode()):
        with pytest.raises(HTTPException, match="give the service's token"):
            check(given(wrong))
    with pytest.raises(HTTPException):
        check(None)


def test_a_token_in_latin_1():
    token_check("sécret")(given(b"s\xe9cret"))
    # Letters that Latin-1 has not are not left out.
    with pytest.raises(HTTPException):
        token_check("a秘")(given(b"a"))


def given(token):
    """As the bytes of a header arrive."""
    return HTTPAuthorizationCredentials(scheme="Bearer", credentials=token.decode("latin-1"))
