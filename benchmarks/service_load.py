"""How many images a second does the service answer, and how late, alone and beside clients that misbehave?

    python benchmarks/service_load.py MODEL [--seconds 60] [--connections 16]

Starts `squeezekit serve MODEL` on loopback and loads it with wrk (Debian's package), one thread, each request one of 64 JPEGs of
32 × 32 pixels. Then the same while four clients send what is broken, too large, or slow, and one sends good images and
compares each answer with the classifier's own. Service and load share the machine. Prints one JSON line a part: requests/s,
milliseconds (p50, p99, most), `failed`, the requests of wrk that had no answer or not status 200, and beside
other clients `wrong`, good images answered in another way than in Python, and the `statuses` that each kind of client got.
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

SIDE, IMAGES = 32, 64
# Each request is one of the images in turn; the summary is one line of JSON.
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


def jpegs(folder: Path) -> list[bytes]:
    """JPEGs of coloured clouds, numbered from 1."""
    random = np.random.default_rng(0)
    made = []
    for number in range(1, IMAGES + 1):
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
    with tempfile.TemporaryFile("a+") as messages:
        job = subprocess.Popen(command, stderr=messages, text=True)
        port = 0
        while not port:
            time.sleep(0.1)
            messages.seek(0)
            found = re.search(r"127\.0\.0\.1:(\d+)", said := messages.read())
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


class Client(threading.Thread):
    """A client that sends requests until `ending` is set, and counts the statuses of the answers."""

    def __init__(self, port: int, ending: threading.Event) -> None:
        super().__init__()
        self.port, self.ending, self.statuses = port, ending, Counter[str]()

    def run(self) -> None:
        while not self.ending.is_set():
            try:
                self.once()
            except Exception as error:
                self.statuses[f"{type(self).__name__} met {type(error).__name__}"] += 1
            time.sleep(0.02)

    def once(self) -> None:
        """One request."""
        raise NotImplementedError


class Broken(Client):
    """Half an image, and none at all."""

    def __init__(self, port: int, ending: threading.Event, good: bytes) -> None:
        super().__init__(port, ending)
        self.good = good

    def once(self) -> None:
        for body in (self.good[: len(self.good) // 2], b"no image", b""):
            self.statuses[f"broken: {ask(self.port, body)[0]}"] += 1


class Oversized(Client):
    """More bytes than are allowed, and a small file of very many pixels."""

    def __init__(self, port: int, ending: threading.Event) -> None:
        super().__init__(port, ending)
        file = io.BytesIO()
        Image.new("1", (9000, 9000)).save(file, "PNG")
        self.bomb = file.getvalue()

    def once(self) -> None:
        self.statuses[f"oversized: {ask(self.port, self.bomb)[0]}"] += 1
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as link:
            link.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
            self.statuses[f"oversized: {link.recv(100).split()[1].decode()}"] += 1


class Slow(Client):
    """A body of which a byte comes now and then."""

    def once(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as link:
            link.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            link.settimeout(0.5)
            while True:
                try:
                    link.sendall(b"x")
                    self.statuses[f"slow: {link.recv(100).split()[1].decode()}"] += 1
                    return
                except TimeoutError:
                    continue


class Good(Client):
    """Images whose answers are known."""

    def __init__(self, port: int, ending: threading.Event, known: list[tuple[bytes, str, float]]) -> None:
        super().__init__(port, ending)
        self.known = known

    def once(self) -> None:
        for body, label, probability in self.known:
            status, answer = ask(self.port, body)
            found = answer["results"][0] if status == 200 else {"label": "", "probability": 0}
            right = found["label"] == label and abs(found["probability"] - probability) < 1e-3
            self.statuses["right" if right else "wrong"] += 1


def loaded(port: int, script: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What wrk measures."""
    load = ["-t1", f"-c{arguments.connections}", f"-d{arguments.seconds}s", "--timeout", "10s", "-s", str(script)]
    done = subprocess.run(["wrk", *load, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    seconds = found.pop("microseconds") / 1e6
    return {"requests_per_s": round(found.pop("requests") / seconds, 1), "seconds": round(seconds, 1), **found}


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Alone, then beside other clients."""
    classifier = Classifier.load(arguments.model)
    about = {"model": arguments.model.name, "connections": arguments.connections, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = jpegs(folder)
        answers = classifier.classify([io.BytesIO(file) for file in files])
        known = [(file, answer.label, answer.probability) for file, answer in zip(files, answers, strict=True)]
        script = folder / "load.lua"
        script.write_text(LUA % (IMAGES, folder))
        with served(arguments.model) as port:
            yield {"other_clients": False, **about, **loaded(port, script, arguments)}
            ending = threading.Event()
            clients = [Broken(port, ending, files[0]), Oversized(port, ending), Slow(port, ending), Slow(port, ending)]
            clients.append(Good(port, ending, known))
            for one in clients:
                one.start()
            found = loaded(port, script, arguments)
            ending.set()
            for one in clients:
                one.join()
            statuses = sum((one.statuses for one in clients), Counter[str]())
            wrong = statuses.pop("wrong", 0) + sum(statuses[name] for name in statuses if name.startswith("Good met"))
            yield {
                "other_clients": True,
                **about,
                **found,
                "wrong": wrong,
                "right": statuses.pop("right", 0),
                "statuses": statuses,
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
