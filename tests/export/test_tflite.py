"""What leaves as TensorFlow Lite answers in LiteRT as the integer reference does, and is a file that its tools read."""

import json
import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import squeezekit as sk
from squeezekit import SqueezekitError
from squeezekit.acceleration.folding import folded
from squeezekit.cli import main
from squeezekit.data.digits import load_digits
from squeezekit.export import tflite
from squeezekit.export.tflite import content_of, export_tflite
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.integer.plan import IntegerConvolution, IntegerPooling
from squeezekit.networks import network_config
from tests.fixtures.exported import GRAPHS, NETWORKS, OTHERS, SMALL, STAGED, lively, pictures_like, planned, reference, small

pytest.importorskip("flatbuffers", reason="not installed; pip install 'squeezekit[tflite]'")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="not installed; pip install 'squeezekit[dev]'")
litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed; pip install 'squeezekit[dev]'")

XNNPACK, BUILT_IN = litert.OpResolverType.AUTO, litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
REFUSED = {name for name, fields in NETWORKS.items() if fields.get("mirrored")}
# The offset of a residual that has a zero point can be cut off in a plan, which moves it by a part of a step.
CUT_OFF = "inverted"


def interpreter(content, kernels=XNNPACK, **options):
    made = litert.Interpreter(model_content=content, experimental_op_resolver_type=kernels, num_threads=1, **options)
    made.allocate_tensors()
    return made


def logits(content, pixels, kernels=XNNPACK):
    """Float logits [n, classes] of uint8 pictures [n, side, side, channels]."""
    made = interpreter(content, kernels)
    (first,), (last,) = made.get_input_details(), made.get_output_details()
    assert first["dtype"] == np.int8 and first["quantization"] == (np.float32(1 / 255), -128)
    assert last["dtype"] == np.float32
    found = []
    for picture in pixels:
        made.set_tensor(first["index"], (picture.astype(np.int16) - 128).astype(np.int8)[None])
        made.invoke()
        found.append(made.get_tensor(last["index"])[0])
    return np.array(found)


def expected(plan, pixels):
    return reference(plan, pixels) * 2.0**-plan.fraction


@pytest.mark.parametrize("name", [*(name for name in NETWORKS if name not in REFUSED), *STAGED, *GRAPHS, *OTHERS])
def test_logits_are_those_of_the_integers(name):
    model, plan = small(name)
    pixels = pictures_like(model.config, 8)
    content, right = content_of(plan, model), expected(plan, pixels)
    # XNNPACK rounds once, as the plan does; built-in kernels round twice.
    for kernels, share in ((XNNPACK, 0.005), (BUILT_IN, 0.03)):
        difference = np.abs(logits(content, pixels, kernels) - right).mean() / right.std()
        assert difference < (0.05 if name == CUT_OFF else share)


def test_feature_maps_are_those_of_the_plan_to_the_byte():
    model, plan = small("whitened")
    assert all(step.residual is None for step in plan.steps if isinstance(step, IntegerConvolution))
    content = content_of(plan, model)
    made = interpreter(content, experimental_preserve_all_tensors=True)
    (picture,) = pictures_like(model.config, 3)[2:]
    made.set_tensor(made.get_input_details()[0]["index"], (picture.astype(np.int16) - 128).astype(np.int8)[None])
    made.invoke()
    *_, last = (step for step in plan.steps if isinstance(step, IntegerPooling))
    (tensor,) = (one for one in made.get_tensor_details() if one["name"] == f"layer{plan.steps.index(last)}_pooled")
    # A head with weights of one for each channel gives that channel's byte.
    head = plan.steps[-1]
    eye = replace(head, weights=np.eye(last_channels(plan, head), dtype=np.int8), bias=np.zeros(1, np.int64), drop=0)
    eye = replace(eye, gain=np.full(len(eye.weights), 2), shift=1)
    bytes_of_plan = reference(replace(plan, steps=(*plan.steps[:-1], eye)), picture[None])
    assert (made.get_tensor(tensor["index"]).ravel().astype(int) + 128 == bytes_of_plan.ravel()).all()
    assert bytes_of_plan.max() > 50


def last_channels(plan, head):
    here = plan.feature_maps[head.source]
    assert here.height == here.width == 1
    return here.channels


def test_a_head_with_relu_has_scores_of_the_range_that_was_measured():
    config = network_config("squeezenet-cifar", **{**SMALL, "depth": 1, "pool_before": (1,), "head_relu": True})
    torch.manual_seed(0)
    network = folded(lively(config.build()))
    model = Model("x", network, network.config, tuple("0123456789"), None, None, None)
    pixels = pictures_like(config, 12)
    plan = planned(model, pixels)
    assert plan.steps[-1].relu and plan.steps[-1].high > 0
    difference = np.abs(logits(content_of(plan, model), pixels) - expected(plan, pixels))
    # Each position's score is rounded to a 255th of the range.
    assert difference.mean() < plan.steps[-1].high / 255 / 2


def test_a_filter_that_is_multiplied_by_nothing_gives_nothing():
    model, plan = small("plain")
    first = plan.steps[0]
    assert isinstance(first, IntegerConvolution)
    dead = replace(first, gain=np.where(np.arange(len(first.gain)) % 2, first.gain, 0))
    plan = replace(plan, steps=(dead, *plan.steps[1:]))
    pixels = pictures_like(model.config, 8)
    right = expected(plan, pixels)
    assert np.abs(logits(content_of(plan, model), pixels) - right).mean() < 0.001 * right.std()


def test_a_bypass_that_counts_nothing_adds_nothing():
    model, plan = small("simple bypass")
    steps = [
        replace(step, residual=replace(step.residual, gain=0)) if getattr(step, "residual", None) else step for step in plan.steps
    ]
    without = replace(plan, steps=tuple(steps))
    pixels = pictures_like(model.config, 8)
    right = expected(without, pixels)
    assert np.abs(right - expected(plan, pixels)).mean() > 0.1 * right.std()
    assert np.abs(logits(content_of(without, model), pixels) - right).mean() < 0.005 * right.std()


@pytest.mark.slow
def test_a_run_becomes_a_file_with_its_classes(tiny_run, tmp_path, capsys):
    out = tmp_path / "digits.tflite"
    assert main(["export", str(tiny_run.folder), "--format", "tflite", "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(out) and said["bytes"] == out.stat().st_size
    assert said["validation"]["before"] == tiny_run.summary["validation"]["accuracy"]
    assert abs(said["validation"]["after"] - said["validation"]["before"]) <= 0.08
    test = load_digits(image_size=16).test
    content, plan = out.read_bytes(), integer_plan(load_model(tiny_run.folder))
    assert (logits(content, test.images[:50]).argmax(1) == reference(plan, test.images[:50]).argmax(1)).mean() > 0.99
    with zipfile.ZipFile(out) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(test.classes)
    assert str(tiny_run.folder).encode() not in content


def test_constants_are_aligned_and_the_metadata_name_the_labels():
    model, plan = small("squeezed")
    content = content_of(plan, model)
    read = schema.Model.GetRootAs(content, 0)
    constants = [read.Buffers(number).DataAsNumpy() for number in range(1, read.BuffersLength())]
    begin = np.frombuffer(content, np.uint8).ctypes.data
    # Microcontrollers read them in place.
    assert content[4:8] == b"TFL3" and all((constant.ctypes.data - begin) % 16 == 0 for constant in constants)
    about = read.Metadata(0)
    metadata = constants[about.Buffer() - 1].tobytes()
    assert about.Name() == b"TFLITE_METADATA" and metadata[4:8] == b"M001" and b"labels.txt" in metadata
    assert [read.Subgraphs(0).Tensors(end).Name() for end in (read.Subgraphs(0).Inputs(0), read.Subgraphs(0).Outputs(0))] == [
        b"image",
        b"logits",
    ]


def test_the_library_writes_what_the_command_does(tiny_sqz, tmp_path, capsys):
    made = sk.export(tiny_sqz, tmp_path / "one.tflite", format="tflite")
    assert main(["export", str(tiny_sqz), "--format", "tflite", "-o", str(tmp_path / "two.tflite")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'two.tflite'}: {made.bytes:,} bytes\n"
    assert (tmp_path / "one.tflite").read_bytes() == (tmp_path / "two.tflite").read_bytes()
    assert made.validation == {} and "<td>" in made._repr_html_()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_networks_without_such_a_form_are_refused(name):
    model, plan = small(name)
    with pytest.raises(SqueezekitError, match=r"no TensorFlow Lite form; export to C$"):
        content_of(plan, model)


def test_what_cannot_be_exported_says_why(tiny_sqz, tmp_path, monkeypatch):
    with pytest.raises(SqueezekitError, match="name a file that ends in .tflite"):
        export_tflite(tiny_sqz, tmp_path / "digits.lite")
    with pytest.raises(SqueezekitError, match="int8 is no option of format tflite, which takes data"):
        sk.export(tiny_sqz, tmp_path / "x.tflite", format="tflite", int8=True)
    monkeypatch.setattr(tflite, "find_spec", lambda name: None)
    with pytest.raises(SqueezekitError, match=r"needs flatbuffers; pip install 'squeezekit\[tflite\]'"):
        export_tflite(tiny_sqz, tmp_path / "x.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_stays_as_it_was_when_writing_fails(tiny_sqz, tmp_path, monkeypatch):
    out = tmp_path / "x.tflite"
    out.write_bytes(b"before")

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["export", str(tiny_sqz), "--format", "tflite", "-o", str(out)]) != 0
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.tflite", b"before")]
