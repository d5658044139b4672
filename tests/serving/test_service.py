"""A service on loopback: right answers, limits, tokens, another model while it runs, an orderly end."""

import asyncio
import concurrent.futures
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch
from PIL import Image

from squeezekit import Classifier, SqueezekitError
from squeezekit.cli import main
from squeezekit.data.digits import load_digits
from tests.fixtures.service import form, png, served

pytest.importorskip("fastapi", reason="FastAPI is not installed; pip install 'squeezekit[serve]'")

# In UTF-8, as curl sends it.
TOKEN = {"authorization": "Bearer gehéim".encode()}


@pytest.fixture(scope="module")
def digits():
    return load_digits(image_size=16).test.images[:6]


@pytest.fixture(scope="module")
def server(tiny_run):
    """A service with narrow limits on what is sent."""
    with served(tiny_run.folder, "--max-images", "4", "--max-body", "20000", "--max-pixels", "10000") as one:
        yield one


@pytest.fixture(scope="module")
def guarded(tiny_run, tmp_path_factory):
    """A service with a token, that lets three images wait, and requests arrive for two seconds."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_bytes("\ufeffgehéim\r\n".encode())
    with served(tiny_run.folder, "--token-file", file, "--max-waiting", "3", "--seconds", "2") as one:
        yield one


@pytest.mark.slow
def test_answers_are_those_of_the_classifier(server, tiny_run, digits):
    expected = Classifier.load(tiny_run.folder).classify_pixels(digits)
    for picture, right in zip(digits, expected, strict=True):
        status, _, answer = server.classify(png(picture), "?top=3")
        (found,) = answer["results"]
        assert status == 200 and found["label"] == right.label and len(found["top"]) == 3
        assert found["probability"] == pytest.approx(right.probability, abs=1e-4) == found["top"][0]["probability"]
    body, headers = form(*map(png, digits[:4]))
    status, _, answer = server.classify(body, **headers)
    assert status == 200 and [one["label"] for one in answer["results"]] == [one.label for one in expected[:4]]


@pytest.mark.slow
def test_what_is_known_of_the_model(server, tiny_run):
    status, _, about = server.ask("GET", "/v1/model")
    assert status == 200 and about["classes"] == list("0123456789") and about["image_size"] == 16
    assert about["parameters"] == tiny_run.summary["parameters"] and about["name"] == tiny_run.folder.name
    assert server.ask("GET", "/healthz")[2] == {"status": "alive"}
    assert set(server.ask("GET", "/openapi.json")[2]["paths"]) >= {"/v1/classify", "/v1/model", "/healthz", "/readyz", "/metrics"}
    status, known, page = server.ask("GET", "/docs")
    assert status == 200 and "/v1/classify" in page and "default-src 'none'" in known["content-security-policy"]
    assert known["x-content-type-options"] == "nosniff" and known["referrer-policy"] == "no-referrer"
    # A run does not state the ranges of its maps, and no visitor may make the service read images.
    assert server.ask("GET", "/")[0] == 307


@pytest.mark.slow
def test_each_limit_has_its_answer(server, digits):
    good, wide = png(digits[0]), io.BytesIO()
    Image.new("L", (101, 100)).save(wide, "PNG")
    cases = {
        "empty": ((b"", {}), 400, "body is empty"),
        "no form": ((b"--y--", {"content_type": "multipart/form-data; boundary=x"}), 400, ""),
        "no boundary": ((b"--y--", {"content_type": "multipart/form-data"}), 400, ""),
        "no files": ((b"--x--\r\n", {"content_type": "multipart/form-data; boundary=x"}), 400, "no pictures in the form"),
        "text": ((b"hello", {}), 415, "the picture cannot be read (not a JPEG, PNG, BMP or WebP file)"),
        "cut": ((good[:-40], {}), 422, "the picture cannot be read"),
        "one of two": (form(good, b"GIF89a"), 415, "picture 2 cannot be read"),
        "many": (form(*[good] * 5), 413, "more than 4 images"),
        "large": ((b"x" * 20001, {}), 413, "more than 20,000 bytes"),
        "wide": ((wide.getvalue(), {}), 413, "101 × 100 pixels, more than 10,000"),
    }
    for name, ((body, headers), status, said) in cases.items():
        found, _, answer = server.classify(body, **headers)
        assert (found, said in answer["detail"]) == (status, True), (name, found, answer)
    assert server.classify(good, "?top=0")[0] == 422
    # Without saying beforehand how long it is.
    status, _, answer = server.classify(iter([b"x" * 15000] * 2))
    assert status == 413 and server.classify(good)[0] == 200


def begun_request(server, body):
    """A connection whose request the service has begun to read, and of whose body it has ten bytes."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = ("POST /v1/classify HTTP/1.1", "Host: localhost", "Authorization: Bearer gehéim", f"Content-Length: {len(body)}")
    connection.sendall("\r\n".join([*head, "Expect: 100-continue", "", ""]).encode() + body[:10])
    assert connection.recv(1000).startswith(b"HTTP/1.1 100")
    return connection


def has_closed(server):
    """Wait until nobody can connect any more."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", server.port)).close()
        except ConnectionError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
def test_a_slow_client_holds_nobody_up(guarded, digits):
    good = png(digits[0])
    with begun_request(guarded, good) as slow:
        assert guarded.classify(good, **TOKEN)[0] == 200
        # That was before the slow one's time was over.
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.recv(1000)
        slow.settimeout(20)
        assert b"408" in slow.recv(1000).split(b"\r\n")[0]


@pytest.mark.slow
def test_a_foreign_name_is_refused(server, digits):
    status, _, answer = server.classify(png(digits[0]), host="attacker.example")
    assert status == 421 and "start it with --allow-host attacker.example" in answer["detail"]
    assert server.ask("GET", "/", host="attacker.example")[0] == 421
    assert server.classify(png(digits[0]), host="localhost:8000")[0] == 200


@pytest.mark.slow
def test_requests_that_arrive_together_are_one_batch(server, digits):
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda i: server.classify(png(digits[i % 6])), range(64)))
    assert {status for status, _, _ in answers} == {200}
    labels = [answer["results"][0]["label"] for _, _, answer in answers]
    assert labels == [labels[i % 6] for i in range(64)]
    text = server.ask("GET", "/metrics")[2]
    counts = {name: float(number) for name, number in re.findall(r"^squeezekit_batch_images_(sum|count) (.*)$", text, re.M)}
    assert counts["sum"] > counts["count"] > 0 and 'squeezekit_requests_total{status="200"}' in text


@pytest.mark.slow
def test_a_full_queue_says_when_to_come_again(guarded, digits):
    body, headers = form(*[png(digits[0])] * 4)
    status, known, answer = guarded.classify(body, **headers, **TOKEN)
    assert status == 503 and known["retry-after"] == "1" and "too many images wait" in answer["detail"]
    assert guarded.classify(png(digits[0]), **TOKEN)[0] == 200


@pytest.mark.slow
def test_large_pictures_are_decoded_beside_the_others(guarded, tiny_run, digits):
    """Large files, and small files of many pixels."""
    whole = Image.fromarray(digits[0].squeeze()).resize((1600, 1600), Image.Resampling.BICUBIC)
    photograph, flat, expected = io.BytesIO(), io.BytesIO(), Classifier.load(tiny_run.folder)
    Image.merge("RGB", [whole, whole.rotate(1), whole]).save(photograph, "JPEG", quality=99)
    Image.new("L", (1000, 1000), 90).save(flat, "PNG")
    assert len(photograph.getvalue()) > 2**16 > len(flat.getvalue())
    for file in (photograph, flat):
        status, _, answer = guarded.classify(file.getvalue(), **TOKEN)
        right = expected(Image.open(file))
        assert status == 200 and answer["results"][0]["label"] == right.label
    body, headers = form(png(digits[0]), flat.getvalue(), b"GIF89a")
    status, _, answer = guarded.classify(body, **headers, **TOKEN)
    assert status == 415 and "picture 3 cannot be read" in answer["detail"]


@pytest.mark.slow
def test_a_token_is_asked_for(guarded, digits):
    for given in ({}, {"authorization": "Bearer other"}, {"authorization": "geheim"}):
        status, known, answer = guarded.classify(png(digits[0]), **given)
        assert status == 401 and known["www-authenticate"] == "Bearer" and "token" in answer["detail"]
    assert guarded.ask("GET", "/metrics")[0] == guarded.ask("GET", "/v1/model")[0] == 401
    assert guarded.ask("GET", "/")[0] == 307
    assert guarded.classify(png(digits[0]), **TOKEN)[0] == 200
    assert guarded.ask("GET", "/healthz")[0] == 200


@pytest.mark.slow
def test_another_model_takes_its_place_without_a_lost_request_and_sigterm_ends_it_in_order(tiny_sqz, digits, tmp_path):
    model, picture = tmp_path / "model.sqz", png(digits[0])
    shutil.copy(tiny_sqz, model)
    with served(model) as server:
        since = server.ask("GET", "/v1/model")[2]["since"]
        with server.kept_busy(picture) as statuses:
            # A file that is no model changes nothing.
            (tmp_path / "bad").write_bytes(b"SQZ\x1anonsense")
            os.replace(tmp_path / "bad", model)
            assert server.told("the model stays as it was")
            assert server.ask("GET", "/v1/model")[2]["since"] == since
            shutil.copy(tiny_sqz, tmp_path / "again")
            os.replace(tmp_path / "again", model)
            later = server.renewed(since)
            # The page holds the network itself (tests/export/html tries it out).
            status, known, page = server.ask("GET", "/")
            assert known["content-security-policy"] == "frame-ancestors 'none'" and "unsafe-inline" not in page
            assert status == 200 and "Everything is computed in this page" in page and "wasm-unsafe-eval" in page
            server.job.send_signal(signal.SIGHUP)
            assert server.renewed(later) > later
        assert set(statuses) == {200} and len(statuses) > 30
        # What has begun is answered.
        with begun_request(server, picture) as begun:
            server.job.send_signal(signal.SIGTERM)
            assert has_closed(server)
            begun.sendall(picture[10:])
            assert begun.recv(10000).startswith(b"HTTP/1.1 200")
        assert server.job.wait(20) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--host", "0.0.0.0"], "others can reach it; set a token"),
        (["--host", "::"], "others can reach it"),
        (["--max-images", "0"], "max_images"),
        (["--port", "70000"], "choose another port"),
        (["--host", "a" * 70 + ".example", "--no-token"], "cannot be listened on"),
        (["--seconds", "nan"], "seconds"),
        (["--seconds", "inf"], "seconds"),
        (["--max-connections", "0"], "max_connections"),
        (["--allow-host", "http://photos.example"], "give it without http:// and port"),
    ],
)
def test_what_it_will_not_start_with(tiny_run, flags, said, monkeypatch, capsys):
    monkeypatch.delenv("SQUEEZEKIT_TOKEN", raising=False)
    assert main(["serve", str(tiny_run.folder), *flags]) == 2
    printed = capsys.readouterr().err
    assert said in printed and len(printed.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; write the token into it"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"s\xe9cret\n", "is not UTF-8 (byte 1); save it as UTF-8"),
        (b"one\ntwo\n", "holds what no header can carry"),
        (b"a" * 5000, "is larger than 4,096 bytes"),
    ],
)
def test_tokens_that_no_client_could_send(tiny_run, tmp_path, content, said, capsys):
    (tmp_path / "token").write_bytes(content)
    assert main(["serve", str(tiny_run.folder), "--token-file", str(tmp_path / "token")]) == 2
    printed = capsys.readouterr().err
    assert said in printed and str(tmp_path / "token") in printed and len(printed.splitlines()) == 1 and "cret" not in printed


@pytest.mark.parametrize("length", ["9" * 5001, "-5", "+5", "5, 5", "²", "0x5", " "])
def test_a_body_whose_length_is_no_number(length):
    from fastapi import HTTPException, Request

    from squeezekit.serving.uploads import RequestLimits, uploaded_files

    request = Request({"type": "http", "headers": [(b"content-length", length.encode("latin-1"))]})
    with pytest.raises(HTTPException) as refused:
        asyncio.run(uploaded_files(request, RequestLimits()))
    assert refused.value.status_code == (413 if length.isdecimal() else 400)


def test_an_answer_that_is_no_number_is_no_json():
    from fastapi import HTTPException

    from squeezekit.inference.classifier import Prediction
    from squeezekit.serving.service import _as_json

    with pytest.raises(HTTPException, match="is not a number"):
        _as_json(Prediction((("a", float("nan")), ("b", float("nan")))), 5)


def test_what_still_computes_does_not_keep_it_from_ending(monkeypatch, capsys):
    from types import SimpleNamespace

    from squeezekit.serving import service

    ended = threading.Event()
    monkeypatch.setattr(service, "SHUTDOWN_SECONDS", 0)
    monkeypatch.setattr(service, "LAST_SECONDS", 0.05)
    monkeypatch.setattr(os, "_exit", lambda code: ended.set())
    server = SimpleNamespace(should_exit=False)
    with service._ends_in_time(server):
        assert not ended.wait(0.3)
        server.should_exit = True
        assert ended.wait(20)
    assert capsys.readouterr().err == "ended while requests were in progress\n"


def test_a_port_that_is_taken_is_named(tiny_run):
    from squeezekit.serving.service import serve

    threads = torch.get_num_threads()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SqueezekitError, match=f"--port {port}: cannot be listened on"):
            serve(tiny_run.folder, port=port, token=None)
    # One fewer served; what the caller does next has all again.
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("examples", [pytest.param(8, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.long)])
def test_schemathesis_finds_nothing_against_the_description(examples, server, tmp_path):
    """Requests that fit the description and requests that do not, drawn by a program that reads it."""
    url = f"http://127.0.0.1:{server.port}/openapi.json"
    # What fits the description need not be a picture.
    flags = ["--max-examples", str(examples), "--seed", "1", "--no-color", "--exclude-checks", "positive_data_acceptance"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", url, *flags]
    # Where it keeps its memory.
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout
