"""The Containerfile, as far as one gets without a program that builds images: its grammar, its paths, and its steps run here."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from squeezekit.pretrained.files import model_path

ROOT = Path(__file__).parents[1]
KNOWN = {"FROM", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}
OPT = "/opt/squeezekit-device"
MOST_BYTES = 100_000_000


def instructions():
    """Name and arguments of each."""
    lines = (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line and not line.startswith("#")]


def of(name):
    return [rest for found, rest in instructions() if found == name]


def test_instructions_are_known_and_what_is_copied_exists():
    assert {name for name, _rest in instructions()} == KNOWN
    for rest in of("COPY"):
        *sources, place = rest.split()
        if sources[0].startswith("--from="):
            assert sources[0] == "--from=build" and sources[1:] == [place] == [OPT]
        else:
            assert place.startswith("/source") and all((ROOT / source).exists() for source in sources)


def test_it_does_not_run_as_root_and_writes_nothing():
    stage = instructions()[max(n for n, (name, _rest) in enumerate(instructions()) if name == "FROM") :]
    names = [name for name, _rest in stage]
    assert names.index("USER") < names.index("ENTRYPOINT") and "RUN" not in names
    assert all(int(number) > 0 for number in of("USER")[0].split(":"))


def command(name):
    """That of an instruction in the form of JSON."""
    return json.loads(re.search(r"\[.*\]", of(name)[0])[0])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a device has Linux")
def test_its_steps_make_a_service_that_is_healthy_and_stops(tmp_path):
    """Steps as they stand but for the folders, and the port and the address, which others here may have."""

    def here(words):
        return [re.sub(r"^(/opt|/source|/model)", rf"{tmp_path}\1", word) for word in words]

    for rest in of("COPY")[:-1]:
        *sources, place = rest.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / place[1:], ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (tmp_path / place[1:]).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, tmp_path / place[1:])
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for rest in of("RUN"):
        words = here(shlex.split(rest))
        words[0] = sys.executable if words[0] == "python" else words[0]
        subprocess.run(words, check=True, env=variables, capture_output=True)
    size = sum(path.lstat().st_size for path in (tmp_path / "opt").rglob("*") if path.is_file())
    assert size < MOST_BYTES
    shutil.copy(model_path("digits-nano"), tmp_path / "model.sqz")
    serve = [*here(command("ENTRYPOINT")), "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True, env=variables, cwd=tmp_path) as service:
        try:
            port = re.search(r"listening on http://127\.0\.0\.1:(\d+)", service.stderr.readline())[1]
            healthy = [word.replace(":8000", f":{port}") for word in here(command("HEALTHCHECK"))]
            assert subprocess.run(healthy, env=variables).returncode == 0
            assert (
                subprocess.run([word.replace("/healthz", "/nowhere") for word in healthy], stderr=subprocess.DEVNULL).returncode
                != 0
            )
        finally:
            service.terminate()
            service.wait(20)
    assert service.returncode == 0
