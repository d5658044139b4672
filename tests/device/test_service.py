"""The service of a device answers pictures, and bounds everything that a client can make large or long."""

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from squeezekit import SqueezekitError
from squeezekit.device.classifier import DeviceClassifier
from squeezekit.device.library import library_path
from squeezekit.device.service import DeviceService, ServiceLimits
from squeezekit.pretrained.files import model_path

PICTURE = (Path(__file__).parents[2] / "examples" / "three.png").read_bytes()
pytestmark = pytest.mark.skipif(not library_path().exists(), reason="a device has Linux on x86-64 or AArch64")


@pytest.fixture(scope="module")
def classifier():
    return DeviceClassifier(model_path("digits-nano"))


@contextmanager
def serving(classifier, **limits):
    """The port of a service."""
    with DeviceService(("127.0.0.1", 0), classifier, ServiceLimits(**limits)) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service.server_port
        finally:
            service.shutdown()
            thread.join()


def asked(port, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b"{}")


def test_a_picture_is_answered(classifier):
    with serving(classifier) as port:
        status, found = asked(port, "POST", "/v1/classify", PICTURE)
        (result,) = found["results"]
        assert status == 200 and (result["label"], result["known"]) == ("3", True) and len(result["top"]) == 10
        status, model = asked(port, "GET", "/v1/model")
        assert (status, model["classes"], model["image_size"]) == (200, list(classifier.classes), 32)
        assert asked(port, "GET", "/healthz") == (200, {"status": "ok"})
        assert asked(port, "GET", "/else")[0] == asked(port, "POST", "/else", b"x")[0] == 404
        assert asked(port, "DELETE", "/v1/model")[0] == 501


def test_who_waits_for_leave_to_send_a_picture_gets_it(classifier):
    """As curl does, for a second, with a photo of a megabyte or more."""
    with serving(classifier) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        head = f"POST /v1/classify HTTP/1.1\r\nContent-Length: {len(PICTURE)}\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(PICTURE)
        assert client.makefile("rb").readline().split()[1] == b"200"


def test_who_has_waited_too_long_is_not_classified_any_more(classifier, monkeypatch):
    asked_for = []
    monkeypatch.setattr(classifier, "answer", lambda *_arguments, **_options: asked_for.append(1))
    with DeviceService(("127.0.0.1", 0), classifier, ServiceLimits(seconds=0.2, max_connections=1)) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with service.one_at_a_time, pytest.raises((http.client.HTTPException, OSError)):
                asked(service.server_port, "POST", "/v1/classify", PICTURE)
            time.sleep(0.1)
            # The only place is free again.
            assert asked(service.server_port, "GET", "/healthz")[0] == 200 and not asked_for
        finally:
            service.shutdown()
            thread.join()


def test_what_is_no_picture_or_too_large_is_refused_and_the_service_goes_on(classifier):
    with serving(classifier, max_bytes=10_000, max_pixels=100) as port:
        status, found = asked(port, "POST", "/v1/classify", b"dust")
        assert status == 422 and "cannot be read as a picture" in found["detail"]
        assert asked(port, "POST", "/v1/classify", PICTURE)[0] == 413
        # Refused by what it says, before it has come.
        assert asked(port, "POST", "/v1/classify", None, [("Content-Length", "10001")])[0] == 413
        for length in ("-1", "x", "9" * 30):
            assert asked(port, "POST", "/v1/classify", None, [("Content-Length", length)])[0] == 411
        assert asked(port, "GET", "/healthz")[0] == 200


@pytest.mark.slow
def test_time_and_connections_end(classifier):
    with serving(classifier, seconds=1, max_connections=2) as port:
        begin = time.monotonic()
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
        for each in slow:
            each.sendall(b"POST /v1/classify HTTP/1.0\r\nContent-Length: 100\r\n\r\nx")
        time.sleep(0.3)
        assert asked(port, "GET", "/healthz")[0] == 503
        # Whatever else they send, a byte at a time.
        while time.monotonic() < begin + 0.8:
            slow[0].sendall(b"x")
            time.sleep(0.1)
        for each in slow:
            each.settimeout(5)
            try:
                while each.recv(1000):
                    pass
            except ConnectionError:
                pass
        assert 0.9 < time.monotonic() - begin < 4
        time.sleep(0.2)
        assert asked(port, "POST", "/v1/classify", PICTURE)[0] == 200


def test_limits_and_addresses_that_cannot_be():
    for name, number in (("max_bytes", 0), ("max_pixels", 10**9), ("seconds", float("nan")), ("max_connections", -1)):
        with pytest.raises(SqueezekitError, match=f"--{name.replace('_', '-')} "):
            ServiceLimits(**{name: number})
    for address in (("127.0.0.1", 70_000), ("no.such.name.invalid", 80)):
        with pytest.raises(SqueezekitError, match="cannot be listened at"):
            DeviceService(address, None, ServiceLimits())
