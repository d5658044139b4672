"""What leaves as QONNX answers, executed by the tools' own package, as the integer reference does."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

import squeezekit as sk
from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.data.digits import load_digits
from squeezekit.export import qonnx as export
from squeezekit.export.qonnx_graph import graph_of, multipliers
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.plan import LOW_BITS, IntegerConvolution
from tests.fixtures.exported import GRAPHS, NETWORKS, STAGED, pictures_like, reference, small

onnx = pytest.importorskip("onnx", reason="ONNX is not installed; pip install 'squeezekit[onnx]'")
pytest.importorskip("qonnx", reason="qonnx is not installed; pip install 'squeezekit[dev]'")

from qonnx.core.modelwrapper import ModelWrapper  # noqa: E402
from qonnx.core.onnx_exec import execute_onnx  # noqa: E402
from qonnx.transformation.change_batchsize import ChangeBatchSize  # noqa: E402
from qonnx.transformation.infer_shapes import InferShapes  # noqa: E402

REFUSED = {name for name, fields in NETWORKS.items() if fields.get("mirrored")}
# Every kind of node at every change, all networks in the long tests.
QUICK = {"complex bypass", "inverted, odd sides", "residual"}
FILES = [*(name for name in NETWORKS if name not in REFUSED), *STAGED, *GRAPHS]
ALL = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in FILES]


def logits(graph, plan, pixels):
    """In the plan's steps, [n, classes], of uint8 pictures [n, side, side, channels]."""
    # A session is made for each node, which takes longer than its pictures.
    wrapped = ModelWrapper(graph).transform(ChangeBatchSize(len(pixels))).transform(InferShapes())
    answer = execute_onnx(wrapped, {"images": pixels.transpose(0, 3, 1, 2).astype(np.float32)})
    return answer["logits"] * 2.0**plan.fraction


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_logits_are_those_of_the_integers_within_about_a_step(name):
    model, plan = small(name)
    pixels = pictures_like(model.config, 12)
    graph = graph_of(plan)
    onnx.checker.check_model(graph)
    right = reference(plan, pixels)
    # Sums of the last layer beyond 2**24 are rounded by float32.
    assert np.abs(logits(graph, plan, pixels) - right).max() <= 1.5


@pytest.mark.slow
def test_one_other_weight_is_seen():
    model, plan = small("inverted, odd sides")
    pixels, first = pictures_like(model.config, 12), plan.steps[0]
    weights = first.weights.copy()
    weights[0, 0, 0, 0] += 1 if weights[0, 0, 0, 0] < 127 else -1
    other = replace(plan, steps=(replace(first, weights=weights), *plan.steps[1:]))
    assert np.abs(logits(graph_of(other), plan, pixels) - reference(plan, pixels)).max() > 1


def test_feature_maps_weights_and_biases_are_whole_numbers_of_few_bits():
    _, plan = small("simple bypass")
    graph = graph_of(plan)
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.graph.initializer}
    quantizers = [node for node in graph.graph.node if node.op_type == "Quant"]
    assert {node.domain for node in quantizers} == {"qonnx.custom_op.general"}
    assert all(constants[node.input[1]] == 1 and constants[node.input[2]] == 0 for node in quantizers)
    weights = {node.input[0]: node for node in quantizers if node.input[0] in constants}
    filters = [step for step in plan.steps if not hasattr(step, "size")]
    assert len(weights) == len(filters)
    for name, node in weights.items():
        found, bits = constants[name], int(constants[node.input[3]])
        assert (found == np.rint(found)).all() and np.abs(found).max() <= 2 ** (bits - 1) - 1
        assert bits == 2 or np.abs(found).max() > 2 ** (bits - 2) - 1


@pytest.mark.parametrize("name", ["plain", "inverted, odd sides"])
def test_multipliers_round_sums_to_the_bytes_of_the_plan(name):
    _, plan = small(name)
    moved = tried = 0
    for step in (each for each in plan.steps if isinstance(each, IntegerConvolution)):
        found, bits = multipliers(step), LOW_BITS + step.shift
        sums = np.unique(np.random.default_rng(0).integers(0, 1 << 20, 5000))[None]
        bytes = np.minimum((sums * step.gain[:, None] + (1 << (bits - 1))) >> bits, 255)
        rounded = np.minimum(np.rint(sums.astype(np.float32) * found[:, None]), 255)
        moved, tried = moved + (rounded != bytes).sum(), tried + bytes.size
    assert moved <= tried * 1e-5


def test_a_filter_that_is_multiplied_by_nothing_gives_nothing():
    _, plan = small("plain")
    first = next(step for step in plan.steps if isinstance(step, IntegerConvolution))
    dead = replace(first, gain=np.where(np.arange(len(first.gain)) % 2, first.gain, 0))
    found = multipliers(dead)
    assert (found[::2] == 0).all() and (found[1::2] == multipliers(first)[1::2]).all()


@pytest.mark.slow
def test_a_run_becomes_a_file_with_its_classes(tiny_run, tmp_path, capsys):
    out = tmp_path / "digits.onnx"
    assert main(["export", str(tiny_run.folder), "--format", "qonnx", "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(out) and said["bytes"] == out.stat().st_size
    assert said["validation"]["before"] == tiny_run.summary["validation"]["accuracy"]
    graph, plan = onnx.load(out), integer_plan(load_model(tiny_run.folder))
    test = load_digits(image_size=16).test
    assert {each.key: json.loads(each.value) for each in graph.metadata_props} == {"classes": list(test.classes)}
    assert np.abs(logits(graph, plan, test.images[:50]) - reference(plan, test.images[:50])).max() <= 1
    # It is no MODEL: ONNX Runtime has no Quant.
    assert main(["predict", str(out), str(out)]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("name", ["digits-nano", "cifar10-pico", "cifar10-nano", "cifar10-tiny", "photo-s"])
def test_pretrained_models_answer_as_the_integers_do(name):
    plan, model = integer_plan(load_model(name)), load_model(name)
    pixels = pictures_like(model.config, 40)
    assert np.abs(logits(graph_of(plan), plan, pixels) - reference(plan, pixels)).max() <= 1


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_networks_without_such_a_form_are_refused(name):
    _, plan = small(name)
    with pytest.raises(SqueezekitError, match=r"no QONNX form; export to C$"):
        graph_of(plan)


def test_what_cannot_be_exported_says_why(tiny_sqz, tmp_path, monkeypatch):
    with pytest.raises(SqueezekitError, match=r"name a file that ends in \.onnx"):
        sk.export(tiny_sqz, tmp_path / "digits.qonnx", format="qonnx")
    with pytest.raises(SqueezekitError, match="int8 is no option of format qonnx, which takes data"):
        sk.export(tiny_sqz, tmp_path / "x.onnx", format="qonnx", int8=True)
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(SqueezekitError, match=r"needs onnx; pip install 'squeezekit\[onnx\]'"):
        sk.export(tiny_sqz, tmp_path / "x.onnx", format="qonnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_stays_as_it_was_when_writing_fails(tiny_sqz, tmp_path, monkeypatch):
    out = tmp_path / "x.onnx"
    out.write_bytes(b"before")

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["export", str(tiny_sqz), "--format", "qonnx", "-o", str(out)]) != 0
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.onnx", b"before")]
