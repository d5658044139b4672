"""How many pictures a second does the service answer, and how late, alone and beside bad company?

    python benchmarks/service_load.py MODEL [--seconds 60] [--connections 16]

Starts `squeezekit serve MODEL` on loopback and loads it with wrk (Debian's package), one thread, each request one of 64 JPEGs of
32 × 32 pixels. Then the same while four clients send what is broken, too large, or slow, and one sends good pictures and
compares each answer with the classifier's own. Service and load share the machine. Prints one JSON line a part: requests/s,
milliseconds (p50, p99, most), `failed`, the requests of wrk that had no answer or not status 200, and in company `wrong`, good
pictures answered in another way than in Python, and what the bad ones were told.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from squeezekit import Classifier

SIDE, PICTURES = 32, 64
# Each request is one of the pictures in turn; the summary is one line of JSON.
LUA = """
local bodies, turn = {}, 0
function init(args)
  for i = 1, %d do
    local file = io.open("%s/" .. i .. ".jpg", "rb")
    bodies[i] = wrk.format("POST", "/v1/classify", {["Content-Type"] = "image/jpeg"}, file:read("*a"))
    file:close()
  end
end
function request()
  turn = turn %% #bodies + 1
  return bodies[turn]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests": %%d, "microseconds": %%d, "failed": %%d, "p50": %%.3f, "p99": %%.3f, "most": %%.3f}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
"""


def pictures(folder: Path) -> list[bytes]:
    """JPEGs of coloured clouds, numbered from 1."""
    random = np.random.default_rng(0)
    made = []
    for number in range(1, PICTURES + 1):
        cells = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8))
        file = io.BytesIO()
        cells.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        (folder / f"{number}.jpg").write_bytes(file.getvalue())
        made.append(file.getvalue())
    return made


@contextmanager
def served(model: Path) -> Iterator[int]:
    """A running service; its port."""
    command = [sys.executable, "-m", "squeezekit", "serve", str(model), "--port", "0", "--seconds", "5"]
    with tempfile.TemporaryFile("a+") as told:
        job = subprocess.Popen(command, stderr=told, text=True)
        port = 0
        while not port:
            time.sleep(0.1)
            told.seek(0)
            found = re.search(r"127\.0\.0\.1:(\d+)", said := told.read())
            port = int(found.group(1)) if found else 0
            if job.poll() is not None:
                sys.exit(said)
    try:
        while job.poll() is None:
            with suppress(OSError):
                if ask(port, b"", "/readyz", "GET")[0] == 200:
                    break
            time.sleep(0.05)
        yield port
    finally:
        job.send_signal(signal.SIGTERM)
        job.wait(30)


def ask(port: int, body: bytes, path: str = "/v1/classify", method: str = "POST") -> tuple[int, Any]:
    """Status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if answer.status == 200 else content
    finally:
        connection.close()


class Company(threading.Thread):
    """A client that goes on until told to end; it counts what it was told."""

    def __init__(self, port: int, ending: threading.Event) -> None:
        super().__init__()
        self.port, self.ending, self.told = port, ending, Counter[str]()

    def run(self) -> None:
        while not self.ending.is_set():
            try:
                self.once()
            except Exception as error:
                self.told[f"{type(self).__name__} met {type(error).__name__}"] += 1
            time.sleep(0.02)

    def once(self) -> None:
        """One request."""
        raise NotImplementedError


class Broken(Company):
    """Half a picture, and none at all."""

    def __init__(self, port: int, ending: threading.Event, good: bytes) -> None:
        super().__init__(port, ending)
        self.good = good

    def once(self) -> None:
        for body in (self.good[: len(self.good) // 2], b"no picture", b""):
            self.told[f"broken: {ask(self.port, body)[0]}"] += 1


class Oversized(Company):
    """More bytes than are allowed, and a small file of very many pixels."""

    def __init__(self, port: int, ending: threading.Event) -> None:
        super().__init__(port, ending)
        file = io.BytesIO()
        Image.new("1", (9000, 9000)).save(file, "PNG")
        self.bomb = file.getvalue()

    def once(self) -> None:
        self.told[f"oversized: {ask(self.port, self.bomb)[0]}"] += 1
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as link:
            link.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
            self.told[f"oversized: {link.recv(100).split()[1].decode()}"] += 1


class Slow(Company):
    """A body of which a byte comes now and then."""

    def once(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as link:
            link.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            link.settimeout(0.5)
            while True:
                try:
                    link.sendall(b"x")
                    self.told[f"slow: {link.recv(100).split()[1].decode()}"] += 1
                    return
                except TimeoutError:
                    continue


class Good(Company):
    """Pictures whose answers are known."""

    def __init__(self, port: int, ending: threading.Event, known: list[tuple[bytes, str, float]]) -> None:
        super().__init__(port, ending)
        self.known = known

    def once(self) -> None:
        for body, label, probability in self.known:
            status, answer = ask(self.port, body)
            found = answer["results"][0] if status == 200 else {"label": "", "probability": 0}
            right = found["label"] == label and abs(found["probability"] - probability) < 1e-3
            self.told["right" if right else "wrong"] += 1


def loaded(port: int, script: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What wrk measures."""
    load = ["-t1", f"-c{arguments.connections}", f"-d{arguments.seconds}s", "--timeout", "10s", "-s", str(script)]
    done = subprocess.run(["wrk", *load, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    seconds = found.pop("microseconds") / 1e6
    return {"requests_per_s": round(found.pop("requests") / seconds, 1), "seconds": round(seconds, 1), **found}


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Alone, then in company."""
    classifier = Classifier.load(arguments.model)
    about = {"model": arguments.model.name, "connections": arguments.connections, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = pictures(folder)
        answers = classifier.classify([io.BytesIO(file) for file in files])
        known = [(file, answer.label, answer.probability) for file, answer in zip(files, answers, strict=True)]
        script = folder / "load.lua"
        script.write_text(LUA % (PICTURES, folder))
        with served(arguments.model) as port:
            yield {"company": False, **about, **loaded(port, script, arguments)}
            ending = threading.Event()
            company = [Broken(port, ending, files[0]), Oversized(port, ending), Slow(port, ending), Slow(port, ending)]
            company.append(Good(port, ending, known))
            for one in company:
                one.start()
            found = loaded(port, script, arguments)
            ending.set()
            for one in company:
                one.join()
            told = sum((one.told for one in company), Counter[str]())
            wrong = told.pop("wrong", 0) + sum(told[name] for name in told if name.startswith("Good met"))
            yield {
                "company": True,
                **about,
                **found,
                "wrong": wrong,
                "right": told.pop("right", 0),
                "told": told,
            }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a run folder, a .sqz or an .onnx file")
    parser.add_argument("--seconds", type=int, default=60, help="of each part")
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        parser.error("wrk is not installed; apt-get install wrk")
    for row in rows(arguments):
        print(json.dumps(row), flush=True)
