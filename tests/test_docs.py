"""Every command of docs/deploy.md, as it stands, in the order of the page."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(900)
def test_the_page_does_what_it_says(tmp_path):
    for name in ("onnxscript", "fastapi"):
        pytest.importorskip(name, reason="not installed; pip install 'squeezekit[onnx,serve]'")
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options = {"cwd": tmp_path, "env": {**os.environ, "PATH": path}, "text": True}
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    outputs, running = [], []
    try:
        for language, text in blocks:
            for command in text.strip().splitlines() if language == "sh" else [text]:
                if command.startswith("squeezekit serve"):
                    running.append(started(command, options))
                    continue
                start = ["bash", "-c", command] if language == "sh" else [sys.executable, "-c", command]
                done = subprocess.run(start, capture_output=True, check=False, **options)
                assert done.returncode == 0, f"{command}\n{done.stderr}"
                outputs.append(done.stdout.strip())
    finally:
        for job in running:
            job.terminate()
            job.wait(20)
    program = next(i for i, (language, _) in enumerate(blocks) if language == "python")
    before = sum(len(text.strip().splitlines()) for _, text in blocks[:program])
    # A digit that the network was not trained on.
    assert outputs[before] == "3"
    one, two, about = outputs[-3:]
    assert one.startswith('{"results":[{"label":"3"') and two.count('"unsure"') == 2 and '"name":"digits.onnx"' in about


def started(command, options):
    """A service, as soon as it answers."""
    job = subprocess.Popen(command.split(), **options)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", 8000)).close()
            return job
        except OSError:
            assert time.monotonic() < deadline and job.poll() is None
            time.sleep(0.1)
