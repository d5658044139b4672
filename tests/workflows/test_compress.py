"""Compression of what was trained elsewhere."""

import json
import warnings

import numpy as np
import pytest
import torch

import squeezekit as sk
from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.compression import rate_distortion_method
from squeezekit.inference.int8_model import accuracy_in_integers, integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.plan import IntegerConvolution
from squeezekit.networks import network_config
from squeezekit.training.run_folder import Run

onnx = pytest.importorskip("onnx", reason="ONNX is not installed; pip install 'squeezekit[onnx]'")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that knows digits, mean and deviation of its images a part of it, as other programs train one."""
    run = sk.train(
        "digits", network="resnet8", recipe="modern", epochs=5, out=tmp_path_factory.mktemp("elsewhere") / "run", test=False
    )
    return run.network().to(memory_format=torch.contiguous_format)


class Whole(torch.nn.Module):
    """From pixels of 0…255 to probabilities."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        config = self.network.config
        return torch.softmax(self.network((x / 255 - config.mean[0]) / config.std[0]), 1)


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Whole(trained).eval(), (torch.rand(1, 1, 32, 32),), path, dynamo=False, opset_version=18)
    return path


@pytest.mark.slow
def test_an_onnx_file_becomes_small_and_onnx_again(file, tmp_path, capsys):
    out = tmp_path / "small.sqz"
    assert main(["compress", str(file), "--data", "digits", "-o", str(out), "--max-drop", "1", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert "pixels: 0 to 255, right for" in said.err
    assert found["bytes"] == out.stat().st_size < 50_000 and found["ratio"] > 6
    assert found["validation"]["after"] >= found["validation"]["before"] - 0.01 and found["test"]["before"] > 0.7
    # Nothing else is left.
    assert [path.name for path in tmp_path.iterdir()] == ["small.sqz"]
    assert sk.evaluate(out, "digits").accuracy == pytest.approx(found["test"]["after"], abs=1e-4)
    # Its integers, for chips, without images.
    plan = integer_plan(load_model(out))
    assert sum(step.residual is not None for step in plan.steps if isinstance(step, IntegerConvolution)) == 3
    in_integers = accuracy_in_integers(load_model(out), plan, "digits")
    assert in_integers["after"] >= in_integers["before"] - 0.02
    small = sk.export(out, tmp_path / "c", format="c", store_weights="sparse")
    assert small.validation == {} and (tmp_path / "c" / "classifier.c").is_file()
    back = sk.export(out, tmp_path / "back.onnx", format="onnx")
    assert back.bytes > found["bytes"]
    assert sk.evaluate(tmp_path / "back.onnx", "digits").accuracy == pytest.approx(found["test"]["after"], abs=0.005)


@pytest.mark.slow
def test_a_network_of_a_registered_kind_is_compressed_and_goes_on_where_it_was_stopped(trained, tmp_path, monkeypatch):
    out, kept = tmp_path / "small.sqz", tmp_path / ".small.sqz.run"
    with monkeypatch.context() as stopping:
        stopping.setattr("squeezekit.workflows.compress.compress_run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sk.compress(trained, out, data="digits", max_bytes=14_000)
    with pytest.raises(SqueezekitError, match="was begun with ResNet, not"):
        sk.compress(network_config("squeezenet-cifar", channels=1).build(), out, data="digits", resume=True)
    # As if it had been trained here.
    run = Run(kept)
    assert abs(len(run.split.validation) - len(run.split.training)) < 20
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(run.network().parameters(), trained.parameters(), strict=True))
    result = sk.compress(trained, out, data="digits", max_bytes=14_000, resume=True)
    assert result.met_target and result.bytes <= 14_000 and not kept.exists()
    assert sk.evaluate(out, "digits").accuracy > 0.6


def test_what_cannot_be_is_said(file, tmp_path, trained):
    out = tmp_path / "x.sqz"
    with pytest.raises(SqueezekitError, match="needs images of its classes; name them with --data"):
        sk.compress(file, out)
    with pytest.raises(SqueezekitError, match="say how an .onnx file of others takes pictures"):
        sk.compress("runs/any", out, mean=(0.5,))
    with pytest.raises(SqueezekitError, match="tells 10 classes apart, .* holds 2; give its own --data"):
        sk.compress(file, out, data=(np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8), [0, 1, 0, 1]))
    with pytest.raises(SqueezekitError, match="has no field config"):
        sk.compress(torch.nn.Linear(3, 2), out, data="digits")
    with pytest.raises(SqueezekitError, match="holds 10 classes, not 7"):
        sk.compress(network_config("resnet8", channels=1, classes=7).build(), out, data="digits")
    with pytest.raises(SqueezekitError, match="--method nope: is unknown"):
        sk.compress(file, out, data="digits", method="nope")
    (tmp_path / ".x.sqz.run").mkdir()
    with pytest.raises(SqueezekitError, match="is where the network is kept meanwhile"):
        sk.compress(file, out, data="digits")
    (tmp_path / ".x.sqz.run").rmdir()
    with pytest.raises(SqueezekitError, match=r"nothing\.onnx: cannot be read"):
        sk.compress(tmp_path / "nothing.onnx", out, data="digits")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_network_without_convolutions_has_no_integers_and_is_compressed(tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (torch.rand(1, 1, 32, 32),), tmp_path / "flat.onnx", dynamo=False, opset_version=18)
    assert sk.compress(tmp_path / "flat.onnx", tmp_path / "flat.sqz", data="digits", max_drop=50).bytes < 40_000
    assert sk.Classifier.load(tmp_path / "flat.sqz").model.classes == tuple("0123456789")
    with pytest.raises(SqueezekitError, match=r"node 1 \(linear that is not the last, or looks at more than means\)"):
        sk.export(tmp_path / "flat.sqz", tmp_path / "c", format="c")


@pytest.mark.slow
def test_a_file_whose_integers_cannot_be_made_answers_in_floats(file, tmp_path, monkeypatch):
    # How small it becomes is asked elsewhere.
    monkeypatch.setattr(rate_distortion_method, "MAX_PTQ_CANDIDATES", 1)
    out = tmp_path / "odd.sqz"
    sk.compress(file, out, data="digits", mean=[1.5], std=[1.0], max_drop=50)
    assert sk.Classifier.load(out)(np.zeros((32, 32), np.uint8)).probabilities
    with pytest.raises(SqueezekitError, match="no byte stands for the padding; use means between 0 and 1"):
        sk.export(out, tmp_path / "c", format="c")
