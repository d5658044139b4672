"""`squeezekit-device` as it is installed: no PyTorch, no NumPy, and the same bits."""

import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from squeezekit.device.library import library_path
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.pretrained.files import model_path, pretrained_names
from tests.fixtures.exported import pictures_like, reference
from tests.fixtures.repositories import published, root_of

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not library_path().exists(), reason="a device has Linux on x86-64 or AArch64"),
]
LOGITS = """
import sys
from squeezekit_device import Classifier
for model, pictures in zip(sys.argv[1::2], sys.argv[2::2]):
    device = Classifier(model)
    image, data = device.model.plan.feature_maps[0].bytes, open(pictures, "rb").read()
    print([device.logits(data[begin : begin + image]) for begin in range(0, len(data), image)])
assert not {"numpy", "torch", "pydantic"} & set(sys.modules)
"""


def run(environment, *command, code=0, folder=None):
    """What a program of the environment prints, started where no source of squeezekit is found."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environment / "bin" / command[0], *command[1:]]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=variables, cwd=folder or environment)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_it_needs_pillow_alone_and_gives_the_same_bits(device_environment, tmp_path):
    arguments, wanted = [], []
    for name in pretrained_names():
        model = load_model(name)
        pixels = pictures_like(model.config, 4)
        (tmp_path / name).write_bytes(pixels.tobytes())
        arguments += [model_path(name), tmp_path / name]
        wanted.append(reference(integer_plan(model), pixels).tolist())
    found = run(device_environment, "python", "-c", LOGITS, *arguments)
    assert list(map(json.loads, found.splitlines())) == wanted


def test_the_parts_that_it_shares_are_named_one_by_one():
    project = tomllib.loads((ROOT / "device" / "pyproject.toml").read_text(encoding="utf-8"))
    for name in project["tool"]["hatch"]["build"]["hooks"]["custom"]["shared"]:
        source = ROOT / "src" / "squeezekit" / name
        for path in source.glob("*.py") if source.is_dir() else [source]:
            assert "from squeezekit" not in path.read_text(encoding="utf-8"), path


def test_predict_and_check(device_environment):
    picture = ROOT / "examples" / "three.png"
    said = run(device_environment, "squeezekit-device", "predict", model_path("digits-nano"), picture, "--json", "--top", "2")
    answer = json.loads(said)
    assert (answer["label"], answer["known"], len(answer["top"])) == ("3", True, 2)
    said = run(device_environment, "python", "-m", "squeezekit_device", "check", model_path("digits-nano"))
    assert said.endswith("digits-nano.sqz: passes its self-check\n")


def test_the_guide_does_what_it_says(device_environment, tmp_path):
    """Its commands of the device and its Python, as they stand; only the service listens at a port that is free."""
    text = (ROOT / "docs" / "guides" / "device.md").read_text(encoding="utf-8")
    lines = re.findall(r"^squeezekit-device .*$", text, flags=re.MULTILINE)
    [program] = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    shutil.copy(model_path("digits-nano"), tmp_path / "model.sqz")
    Image.open(ROOT / "examples" / "three.png").save(tmp_path / "photo.jpg")
    calls = [shlex.split(line) for line in lines if not line.startswith("squeezekit-device serve")]
    said = [run(device_environment, *call, folder=tmp_path) for call in calls]
    assert json.loads(said[0])["label"] == "3" and said[1] == "model.sqz: passes its self-check\n" and len(said) == len(lines) - 1
    assert run(device_environment, "python", "-c", program, folder=tmp_path).startswith("('3', ")
    command = [device_environment / "bin" / "squeezekit-device", *shlex.split(lines[-1])[1:], "--port", "0"]
    with subprocess.Popen(list(map(str, command)), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as service:
        port = int(re.search(r":(\d+)$", service.stderr.readline().strip()).group(1))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", "/v1/classify", (tmp_path / "photo.jpg").read_bytes())
        assert json.loads(connection.getresponse().read())["results"][0]["label"] == "3"
        service.terminate()
        assert service.wait(20) == 0


def test_an_update_is_installed_and_an_unfit_one_is_not(device_environment, two, versions, tmp_path):
    def update(*flags, code=0):
        return run(device_environment, "squeezekit-device", "update", "-o", tmp_path / "own", *flags, code=code)

    found = json.loads(update("--repo", two / "public", "--trust", root_of(two), "--json"))
    assert (found["before"], found["version"], found["changed"]) == (0, 2, True)
    newest = (tmp_path / "own" / "model.sqz").read_bytes()
    assert "stable 2 is the newest" in update("--repo", two / "public")
    published(versions.unfit, two, check=False)
    update("--repo", two / "public", code=1)
    assert (tmp_path / "own" / "model.sqz").read_bytes() == newest
