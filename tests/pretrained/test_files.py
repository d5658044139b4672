"""The networks in the box."""

import json
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezekit import Classifier, SqueezekitError
from squeezekit.cli import main
from squeezekit.modelfile.inspection import inspect
from squeezekit.pretrained.facts import list_models
from squeezekit.pretrained.files import FILES, known_names, model_path, pretrained_names

MOST_BYTES = {
    "digits-nano": 8 * 1024,
    "cifar10-pico": 6_000,
    "cifar10-nano": 16_000,
    "cifar10-tiny": 40_000,
    "cifar10-small": 110_000,
    "photo-s": 140_000,
    "photo-l": 400_000,
}


def test_every_promised_network_is_there_and_small_enough():
    assert sorted(pretrained_names()) == sorted(MOST_BYTES)
    for name, most in MOST_BYTES.items():
        assert model_path(name).stat().st_size <= most
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 700_000


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_BYTES)
def test_each_answers_as_it_did_when_it_was_made(name):
    found = inspect(model_path(name))
    assert found.self_check is True
    accuracies = set(found.provenance.accuracy)
    assert "test" in accuracies and accuracies & {"validation", "training"}
    assert found.activation_ranges and found.probability_calibration


@pytest.mark.slow
def test_the_list_says_what_matters(capsys):
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == known_names() == [each.name for each in list_models()]
    for each in listed[: len(pretrained_names())]:
        assert each["bytes"] == model_path(each["name"]).stat().st_size
        assert each["macs"] > each["parameters"] > 1000 and each["ram"] > 1000
        assert 0.75 < each["accuracy"] <= 1 and each["licence"] == "Apache-2.0" and each["data"]
    assert main(["models"]) == 0
    assert "cifar10-tiny" in capsys.readouterr().out


@pytest.mark.slow
def test_the_list_is_searched_and_sorted(capsys):
    assert main(["models", "photo*"]) == 0
    shown = capsys.readouterr().out
    assert "photo-l: where training on photos starts\n" in shown and "cifar10" not in shown
    assert main(["models", "cifar10-*", "--sort", "accuracy", "--json"]) == 0
    accuracies = [each["accuracy"] for each in json.loads(capsys.readouterr().out)]
    assert accuracies == sorted(accuracies, reverse=True) and len(accuracies) >= 4
    everything = list_models(sort="macs")
    assert [each.macs for each in everything] == sorted(each.macs for each in list_models())
    assert list_models(sort="accuracy")[-1].accuracy is None and all(each.good_for for each in everything)
    assert main(["models", "nothing-*"]) == 1
    assert "nothing-*: no pretrained model has such a name" in capsys.readouterr().err
    assert main(["models", "--sort", "beauty"]) == 2
    assert "--sort beauty: is unknown; choose bytes," in capsys.readouterr().err


@pytest.mark.slow
def test_real_pictures_are_recognised(real_images):
    # As many pictures as one looks at: each class's first twenty of the test.
    classifier, right, count = Classifier.load("cifar10-nano"), 0, 0
    for folder in sorted((real_images / "test").iterdir()):
        paths = sorted(folder.iterdir())[:20]
        answers = classifier.classify(paths)
        right, count = right + sum(answer.label == folder.name for answer in answers), count + len(paths)
    assert count == 200 and right > 160


def test_a_name_is_enough_from_any_folder_without_a_network(tmp_path, monkeypatch, capsys):
    def refused(*_, **__):
        raise OSError("no network")

    Image.fromarray(np.full((64, 48, 3), 90, np.uint8)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    # Whatever would be fetched fails; in a fresh process too (tests/test_library.py).
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert main(["predict", "cifar10-tiny", "picture.png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in inspect(model_path("cifar10-tiny")).classes


def test_a_file_of_ones_own_comes_first_and_an_unknown_name_is_told_the_known_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "cifar10-tinny", "x.png"]) == 2
    assert "cifar10-tiny" in capsys.readouterr().err
    (tmp_path / "cifar10-tiny").mkdir()
    with pytest.raises(SqueezekitError, match="not a run folder"):
        Classifier.load("cifar10-tiny")


@pytest.mark.slow
def test_the_wheel_holds_them(tmp_path):
    project = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, project]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {Path(name).stem for name in wheel.namelist() if name.endswith(".sqz")}
    assert held == set(MOST_BYTES)
