"""Before a release: mutated requests, sent to a service that must answer, stay small, say nothing, and go on."""

import concurrent.futures
import contextlib
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from squeezekit.data.digits import load_digits
from tests.fixtures.mutation import mutated
from tests.fixtures.service import form, png, served

pytest.importorskip("fastapi", reason="FastAPI is not installed; pip install 'squeezekit[serve]'")

COUNT, AT_ONCE, SEED = 6000, 16, 28
# Beyond what the service has when it begins.
MOST_BYTES = 300 * 2**20
# What a request may be answered with, beside statuses of the parser's own.
STATUSES = {"100", "200", "307", "400", "401", "404", "405", "408", "413", "415", "421", "422", "431", "503"}
TOKENS = (
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Length: ",
    b"Content-Length: -1\r\n",
    b"Content-Length: " + b"9" * 5001 + b"\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: attacker.example\r\n",
    b"Host: [\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Content-Type: multipart/form-data; boundary=x\r\n",
    b"--x\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"A: " + b"b" * 20000,
    b"A: b\r\n" * 5000,
    b"?top=" + b"9" * 5000,
    b"%00%ff%d8",
    b"http://[::1",
    b" HTTP/1.0\r\n",
)


def requests():
    """Good ones, and those that have been attacks."""
    picture = png(load_digits(image_size=16).test.images[0])
    body, _ = form(picture, picture)
    head = b"POST /v1/classify?top=3 HTTP/1.1\r\nHost: localhost\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(picture), picture)
    return [
        b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /docs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        head + b"Content-Length: %d\r\n\r\n%b" % (len(picture), picture),
        head + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
        chunked + b"0\r\n\r\n",
        chunked + b"0\r\nA: b\r\n\r\n",
        chunked + b"1;a=b\r\nc\r\n" * 3000,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40,
        head + b"Content-Length: " + b"9" * 5001 + b"\r\n\r\n",
        head + b"Content-Length: 200001\r\n\r\n",
    ]


def statuses(port, content):
    """Of the answers to what is sent in one connection; a request that waits for more is left alone."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(content)
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while part := connection.recv(2**16):
                answer += part
    assert not answer or re.match(rb"HTTP/1\.[01] \d{3} ", answer), (content, answer)
    return {status.decode() for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", answer, re.MULTILINE)}


def resident_bytes(process):
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) * 1024


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of another process as Linux shows it")
def test_mutated_requests_are_answered_or_refused(tiny_run):
    inputs = list(mutated(requests(), COUNT, seed=SEED, tokens=TOKENS))
    with served(tiny_run.folder, "--seconds", "1", "--max-body", "200000", "--max-pixels", "100000") as server:
        before, found = resident_bytes(server.job), set()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
            for begin in range(0, len(inputs), 200):
                for number, answered in enumerate(threads.map(lambda one: statuses(server.port, one), inputs[begin:][:200])):
                    assert answered <= STATUSES, (begin + number, answered)
                    found |= answered
                assert server.ask("GET", "/healthz", timeout=5)[0] == 200
                assert resident_bytes(server.job) - before < MOST_BYTES, begin
        assert found >= {"200", "400", "413", "421", "431"}
        server.job.send_signal(signal.SIGTERM)
        assert server.job.wait(20) == 0
        assert server.job.stderr.read() == ""
