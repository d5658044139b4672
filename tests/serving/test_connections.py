"""Connections: what a client sends outside of bodies is bounded, and the time that it takes for it."""

import contextlib
import http.client
import socket
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed; pip install 'squeezekit[serve]'")

import uvicorn

from squeezekit.serving import connections
from squeezekit.serving.connections import ConnectionLimits, connection_factory

CONNECTIONS = 6
GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def echo(scope, receive, send):
    """Answers with the path, the number of headers, and the length of the body; /early before the body has come."""
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    body = f"{scope['path']} {len(scope['headers'])} {size};".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port():
    """That of a server in a thread of this process, which gives heads half a second and refused clients as long to read."""
    factory = connection_factory(ConnectionLimits(seconds=0.5, connections=CONNECTIONS))
    server = uvicorn.Server(uvicorn.Config(echo, http=factory, ws="none", lifespan="off", log_level="error"))
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listening:
        patch.setattr(connections, "REFUSAL_SECONDS", 0.5)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def told(port, *parts, pause=0.0):
    """What the server sends until it closes the connection, whatever part it takes."""
    answer = b""
    # A server that closes at once resets what is still sent.
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, contextlib.suppress(ConnectionError):
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        while part := connection.recv(2**16):
            answer += part
    return answer.decode()


def alive(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/alive")
        return connection.getresponse().read() == b"/alive 2 0;"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET / HTTP/1.1\r\nA: ", b"a" * 2**16),
        (b"GET /", b"a" * 2**16),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n" * 2**13),
        (b"", b"\r\n" * 2**15),
        (POST + b"5\r\nwhole\r\n0\r\n", b"A: b\r\n" * 2**13),
        (POST + b"0\r\nA: ", b"a" * 2**16),
        (POST + b"5;", b"a" * 2**16),
        (POST, b"1\r\na\r\n" * 2**14),
    ],
    ids=["header", "address", "headers", "blank lines", "trailers", "trailer", "extension", "smallest chunks"],
)
def test_bytes_outside_of_bodies_are_bounded(port, begin, more):
    answer = told(port, begin, more)
    assert answer.startswith("HTTP/1.1 431 ") and "more than 16,384 bytes outside of the body" in answer
    assert alive(port)


def test_bodies_of_any_length_in_chunks_are_read(port):
    """Trailers are not among the headers."""
    chunks = b"1000\r\n%b\r\n" % (b"a" * 4096) * 40 + b"28\r\n%b\r\n" % (b"b" * 40) * 2000
    answer = told(port, POST.replace(b"Host", b"Connection: close\r\nHost"), chunks, b"0\r\nA: b\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 ") and answer.endswith(f"/ 3 {4096 * 40 + 40 * 2000};")


@pytest.mark.parametrize(
    "length", ["9" * 5001, "-1", "+1", "1 1", "1\r\nContent-Length: 2", "1, 2", "0x1", "1\r\nTransfer-Encoding: chunked", "²"]
)
def test_lengths_that_are_none_are_refused(port, length):
    answer = told(port, f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode(), b"a")
    assert answer.startswith("HTTP/1.1 400 ") and "not a request that can be read" in answer


@pytest.mark.parametrize(
    "noise", [b"\x00", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_request_is_refused_in_one_sentence(port, noise, capfd):
    assert told(port, noise).startswith("HTTP/1.1 400 ")
    assert alive(port) and capfd.readouterr().err == ""


def test_heads_have_a_time(port):
    begin = time.monotonic()
    assert "408" in told(port, b"GET / HT")
    # Also after an answer, and however steadily the bytes come.
    answer = told(port, GET % 1, b"GET /", *[b"a"] * 6, pause=0.1)
    assert answer.startswith("HTTP/1.1 200 ") and "HTTP/1.1 408 " in answer and "took more than 0.5 s" in answer
    assert time.monotonic() - begin < 15


def let_in(port):
    try:
        return alive(port)
    except (http.client.HTTPException, OSError):
        return False


def test_connections_are_counted(port):
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.1)
        assert "503" in told(port)
    deadline = time.monotonic() + 10
    while not let_in(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_few_requests_may_wait_in_a_connection(port):
    last = b"GET /9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = told(port, b"".join(GET % number for number in range(9)) + last)
    assert [part.split("/")[-1] for part in answer.split(" 0;")][:9] == [f"{number} 1" for number in range(9)]
    # So many that answering them would take the server for itself.
    answer = told(port, GET % 1 * 5000)
    assert answer.count("HTTP/1.1 200") <= connections.MAX_PIPELINED and alive(port)


def test_a_body_that_nobody_waits_for_is_not_read_for_ever(port):
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionError):
            while time.monotonic() - begin < 15:
                connection.sendall(b"a" * 2**16)
    assert alive(port)
