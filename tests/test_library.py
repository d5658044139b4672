"""`import squeezekit as sk`: what it offers, what data it takes, how its results look."""

import importlib
import inspect
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.data import Dataset

import squeezekit as sk
from squeezekit.data import in_memory
from squeezekit.data.sources import load_images
from squeezekit.inference.classifier import Prediction
from squeezekit.search.lr_range import LrRange
from tests.fixtures.tiny import TINY

VERBS = [
    *("check", "compress", "cross_validate", "evaluate", "export", "fine_tune", "import_model", "list_models", "make"),
    *("register_network", "search", "train"),
]


def python(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("given", "set_to"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_threads_wait_passively_unless_somebody_says_otherwise(given, set_to, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = "import os, sys, squeezekit; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    assert python(code).split() == [set_to, "False"]


def digits(count=300):
    images = load_images("digits").training
    return images.images[:count], images.labels[:count]


class Pictures(Dataset):
    """As somebody would write it."""

    def __init__(self, images, labels, turned, classes=None):
        self.images, self.labels, self.turned = images, labels, turned
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.turned(self.images[index]), self.labels[index]


def test_it_completes_to_its_verbs_and_nothing_else():
    assert dir(sk) == sorted([*VERBS, "Classifier", "RunFailed", "SqueezekitError", "__version__"])
    assert all(callable(getattr(sk, name)) for name in dir(sk) if name != "__version__")
    assert sk.__version__[0].isdigit() or sk.__version__ == "source"
    with pytest.raises(AttributeError, match="no attribute 'zoo'"):
        _ = sk.zoo


@pytest.mark.parametrize("name", ["search", "export"])
def test_packages_of_a_verbs_name_can_be_called(name):
    # Whatever of them was imported before.
    importlib.import_module({"search": "squeezekit.search.space", "export": "squeezekit.export.onnx"}[name])
    verb = getattr(sk, name)
    assert isinstance(verb, ModuleType) and "out" in inspect.signature(verb).parameters
    with pytest.raises(TypeError, match="required positional argument"):
        verb()


def test_importing_takes_no_time():
    code = "import sys, time; t = time.process_time(); import squeezekit; print(time.process_time() - t, *sys.modules)"
    seconds, *modules = min((python(code).split() for _ in range(3)), key=lambda told: float(told[0]))
    assert float(seconds) < 0.1
    assert not {"torch", "numpy", "rich", "pydantic"} & set(modules)


# Answers without a network, which fails; prints the processor's seconds, those until torch was there, and which modules are.
FIRST_ANSWER = """
import socket, sys, time
def refused(*_, **__): raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = refused
import squeezekit as sk
import torch
imported = time.process_time()
sk.Classifier.load("cifar10-tiny")(sys.argv[1])
print(time.process_time(), imported, *(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.slow
def test_the_first_answer_comes_soon_also_after_installing(tmp_path):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    slow = [
        "torch._dynamo",
        "torch.fx.experimental.symbolic_shapes",
        "numba",
        "sklearn",
        "matplotlib",
        "optuna",
        "tensorboard",
        "onnxruntime",
    ]
    seconds, until_torch, *imported = python(FIRST_ANSWER, str(tmp_path / "red.png"), *slow).split()
    # On a busy machine everything takes longer, torch too.
    assert imported == [] and float(seconds) < max(6, 3 * float(until_torch))


def test_the_list_of_models_is_a_table():
    models = sk.list_models()
    tiny = next(model for model in models if model.name == "cifar10-tiny")
    assert tiny.bytes <= 40_000 and len(tiny.classes) == 10 and 0.8 < tiny.accuracy < 1
    assert repr(models).startswith("ModelList(models=cifar10-pico, digits-nano, cifar10-nano") and "\n" not in repr(models)
    assert "<th>macs</th>" in models._repr_html_()


def test_export_says_which_formats_and_options_there_are(tmp_path):
    with pytest.raises(sk.SqueezekitError, match="choose onnx, c, tflite, html, pi, fpga, qonnx"):
        sk.export("digits-nano", tmp_path / "x", format="pickle")
    with pytest.raises(sk.SqueezekitError, match="int8 is no option of format html"):
        sk.export("digits-nano", tmp_path / "x.html", format="html", int8=True)
    made = sk.export("digits-nano", tmp_path / "x.html", format="html")
    assert made.bytes == (tmp_path / "x.html").stat().st_size and "<td>" in made._repr_html_()


def test_results_are_short_and_are_drawn(tiny_run):
    evaluation = sk.evaluate(tiny_run)
    classifier = sk.Classifier.load(tiny_run)
    answer = classifier(evaluation.images.images[0])
    for result, told in (
        (tiny_run, "network=squeezenet-cifar"),
        (evaluation, f"accuracy={evaluation.accuracy:.2%}"),
        (classifier, "image=16 × 16 × 1"),
        (answer, f"label={answer.label}"),
    ):
        assert told in repr(result) and "\n" not in repr(result) and len(repr(result)) < 300
        assert told.partition("=")[2] in result._repr_html_()
    assert isinstance(tiny_run.plot(), Figure) and isinstance(evaluation.plot(), Figure)
    assert len(tiny_run.history) == 10 and tiny_run.history[-1]["epoch"] == 10
    rates = LrRange([1e-4, 1e-3, 1e-2], [2.3, 1.0, 4.0], 1e-3, 1e-4)
    assert isinstance(rates.plot(), Figure) and repr(rates) == "LrRange(suggested=0.0001, lowest=0.001, steps=3)"


def test_names_from_outside_are_escaped_and_move_no_cursor():
    answer = Prediction((("<script>\x1b[2J\n", 0.9), ("b", 0.1)))
    assert "<script>" not in answer._repr_html_() and "&lt;script&gt;" in answer._repr_html_()
    assert "\x1b" not in repr(answer) and "\n" not in repr(answer)


def test_a_data_frame_where_pandas_is(monkeypatch):
    answer = Prediction((("a", 0.9), ("b", 0.1)))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(sk.SqueezekitError, match="pip install pandas"):
        answer.to_frame()
    pandas = ModuleType("pandas")
    pandas.DataFrame = list
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert answer.to_frame() == [{"class": "a", "probability": 0.9}, {"class": "b", "probability": 0.1}]
    assert sk.list_models().to_frame()[0]["name"] == "cifar10-pico"


@pytest.mark.slow
def test_arrays_are_trained_evaluated_and_compressed(tmp_path, monkeypatch):
    images, labels = digits(400)
    settings = {**TINY, "epochs": 2, "limit": 0, "precision": "fp32"}
    run = sk.train((images, labels), out=tmp_path / "run", **settings)
    assert run.config.run.data.startswith("memory:") and run.data["classes"] == list("0123456789")
    own, named = sk.evaluate(run), sk.evaluate(run, (images, labels))
    # Its own test part, once by name and once given again.
    assert own.accuracy == named.accuracy == run.summary["test"]["accuracy"] and len(own.images) < 100
    others = load_images("digits").test
    assert len(sk.evaluate(run, (others.images, others.labels)).images) == len(others)
    small = sk.compress(run, tmp_path / "small.sqz", data=(images, labels), minutes=0)
    assert small.bytes == (tmp_path / "small.sqz").stat().st_size
    assert f"bytes={small.bytes:,}" in repr(small) and isinstance(small.plot(), Figure)
    # As another process, which holds nothing.
    monkeypatch.setattr(in_memory, "_HELD", {})
    with pytest.raises(sk.SqueezekitError, match="another process; give the same ones again"):
        sk.evaluate(run.folder)


def test_a_search_says_that_its_workers_see_no_memory(tmp_path):
    with pytest.raises(sk.SqueezekitError, match="save them as a folder"):
        sk.search(digits(), tmp_path / "study")


@pytest.mark.parametrize("kind", ["arrays", "PIL", "uint8 tensor", "float tensor", "float array"])
def test_a_data_set_gives_the_same_answers_as_its_arrays(kind, tiny_run):
    images, labels = digits(60)
    turned = {
        "arrays": lambda image: image,
        "PIL": lambda image: Image.fromarray(image[:, :, 0]),
        "uint8 tensor": lambda image: torch.from_numpy(image).permute(2, 0, 1),
        "float tensor": lambda image: torch.from_numpy(image).permute(2, 0, 1) / 255,
        "float array": lambda image: image.astype(np.float64) / 255,
    }[kind]
    given = Pictures(images, labels, turned)
    assert sk.evaluate(tiny_run, given).loss == sk.evaluate(tiny_run, (images, labels)).loss
