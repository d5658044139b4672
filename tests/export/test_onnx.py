"""What leaves as ONNX answers as it did, from pixels, and can be used as a MODEL."""

import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import squeezekit
from squeezekit import Classifier, SqueezekitError, evaluate
from squeezekit.cli import main
from squeezekit.cli.export import run
from squeezekit.data.digits import load_digits
from squeezekit.export.onnx import FromPixels, export_onnx, graph_of
from squeezekit.inference.model import Model, load_model
from squeezekit.modelfile.none_of_these import NoneOfThese
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks import list_networks, mobilenet, network_config, shufflenet
from tests.fixtures.exported import lively
from tests.fixtures.tiny import SMALL

onnx = pytest.importorskip("onnx", reason="ONNX is not installed; pip install 'squeezekit[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime")

GOLDEN = Path(__file__).parents[1] / "modelfile" / "golden" / "network-1.sqz"
# As few modules, and networks, as have every kind of layer.
FEW = {**SMALL, "base_e": 8, "incr_e": 8, "stem_width": 8}
NETWORKS = {
    "squeezenet-cifar": FEW,
    "squeezenet1_0": {**FEW, "classes": 10, "image_size": 33, "pool_before": (1, 2), "mirrored": True},
    "simple bypass": {**FEW, "bypass": "simple", "batch_norm": True},
    "complex bypass": {**FEW, "bypass": "complex", "batch_norm": True},
    "bare complex bypass, grey": {**FEW, "bypass": "complex", "channels": 1, "mean": (0.3,), "std": (0.2,)},
    "resnet8": {"image_size": 16},
    "mobilenetv2_050": {"image_size": 16},
    "shufflenetv2_050": {"image_size": 16},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_pytorch(name, monkeypatch):
    # One stage of each kind: with and without expansion, residual and not, of stride 1 and 2.
    monkeypatch.setattr(mobilenet, "STAGES", [(1, 16, 1, 1), (6, 24, 2, 2)])
    monkeypatch.setattr(shufflenet, "STAGES", [(48, 2)])
    fields = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), **NETWORKS[name]}
    config = network_config(name if name in list_networks() else "squeezenet-cifar", **fields)
    torch.manual_seed(0)
    network = lively(config.build())
    model = Model("x", network, config, tuple("0123456789"), None, None, lambda images: np.arange(0))
    graph = graph_of(model)
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert [node.name for node in session.get_inputs()] == ["images"] and session.get_inputs()[0].type == "tensor(uint8)"
    for count in (1, 5):
        pixels = torch.randint(0, 256, (count, config.channels, config.image_size, config.image_size), dtype=torch.uint8)
        (logits,) = session.run(["logits"], {"images": pixels.numpy()})
        with torch.inference_mode():
            assert np.abs(logits - FromPixels(model)(pixels).numpy()).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("opset", "version"), [(18, 8), pytest.param(21, 10, marks=pytest.mark.long), (23, 11)])
def test_operators_are_of_the_version_that_was_asked_for(opset, version, tmp_path):
    said = export_onnx(GOLDEN, tmp_path / "x.onnx", opset=opset)
    graph = onnx.load(tmp_path / "x.onnx")
    onnx.checker.check_model(graph, full_check=True)
    # Runtimes refuse files of a later version than theirs, and sets of operators that they do not know, used or not.
    assert [(one.domain, one.version) for one in graph.opset_import] == [("", opset)]
    assert said.opset == opset and graph.ir_version == version
    assert load_model(tmp_path / "x.onnx").classes == load_model(GOLDEN).classes


@pytest.mark.parametrize("opset", [0, 17, 24, 10**9])
def test_a_version_that_cannot_be_exported_is_refused(opset, tmp_path):
    with pytest.raises(SqueezekitError, match=f"--opset {opset}: is none that can be exported; choose 18 to 23"):
        export_onnx(GOLDEN, tmp_path / "x.onnx", opset=opset)
    assert main(["export", str(GOLDEN), "--format", "onnx", "-o", str(tmp_path / "x.onnx"), "--opset", str(opset)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_only_onnx_has_such_versions(tmp_path):
    with pytest.raises(SqueezekitError, match="--opset is a setting of --format onnx"):
        run(model=str(GOLDEN), out=str(tmp_path / "x"), format="c", opset=18)


@pytest.fixture
def plain(tiny_run, shared):
    """The run as ONNX, and what the command said."""
    return exported(shared, tiny_run, "plain.onnx")


@pytest.fixture
def eight_bits(tiny_run, shared):
    """The same in eight bits."""
    return exported(shared, tiny_run, "eight-bits.onnx", "--int8")


def exported(shared, run, name, *flags):
    def make(path):
        with path.with_suffix(".json").open("w") as file, redirect_stdout(file):
            assert main(["export", str(run.folder), "--format", "onnx", "-o", str(path), *flags, "--json"]) == 0

    path = shared(name, make)
    return path, json.loads(path.with_suffix(".json").read_text())


@pytest.mark.slow
def test_a_run_becomes_a_file_that_is_a_model(tiny_run, plain):
    out, said = plain
    assert said == {"file": str(out), "bytes": out.stat().st_size, "opset": 18, "int8": False, "validation": {}}
    pixels = load_digits(image_size=16).test.images[:50]
    ours, theirs = (Classifier.load(one).classify_pixels(pixels) for one in (tiny_run.folder, out))
    for one, other in zip(ours, theirs, strict=True):
        assert dict(one.probabilities) == pytest.approx(dict(other.probabilities), abs=1e-4)
    for split in ("test", "validation"):
        assert evaluate(out, "digits", split).accuracy == evaluate(tiny_run.folder, split=split).accuracy
    origin = load_model(out).origin
    assert origin.fingerprint == tiny_run.fingerprints[0] and origin.recipe == tiny_run.config.recipe.changes()


@pytest.mark.slow
def test_a_compressed_file_keeps_its_confidence(tmp_path):
    file, out = tmp_path / "golden.sqz", tmp_path / "golden.onnx"
    replace(read_sqz(GOLDEN), none_of_these=NoneOfThese(weights=((3, -1, -2),), biases=(0,), least=-640)).write(file)
    export_onnx(file, out)
    before, after = load_model(file), load_model(out)
    assert after.none_of_these == before.none_of_these is not None
    assert (after.temperature, after.threshold, after.classes) == (before.temperature, before.threshold, before.classes)
    config = before.config
    pixels = np.random.default_rng(0).integers(0, 256, (8, config.image_size, config.image_size, config.channels), np.uint8)
    for one, other in zip(Classifier(before).classify_pixels(pixels), Classifier(after).classify_pixels(pixels), strict=True):
        assert (one.unsure, one.known, one.label) == (other.unsure, other.known, other.label)
        assert one.probability == pytest.approx(other.probability, abs=1e-4)


@pytest.mark.slow
def test_eight_bits_are_smaller_and_nearly_as_good(tiny_run, plain, eight_bits):
    small, said = eight_bits
    assert said["int8"] and said["validation"]["before"] == tiny_run.summary["validation"]["accuracy"]
    # Of 40 images, by a network that is far from sure of any.
    assert said["validation"]["after"] > said["validation"]["before"] - 0.11
    assert [one.domain for one in onnx.load(small).opset_import] == [""] and onnx.load(small).ir_version == 8
    weights = [tensor for tensor in onnx.load(small).graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    # One scale a filter.
    nodes = onnx.load(small).graph.node
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(small).graph.initializer}
    filters = [node for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in {t.name for t in weights}]
    assert len(filters) >= 3 and all(scales[node.input[1]].ndim == 1 for node in filters)
    assert sum(int(np.prod(t.dims)) for t in weights) > 0.8 * tiny_run.summary["parameters"]
    # But for what says where the bytes go, which of so small a network is most of the file.
    assert bytes_of_numbers(small) < 0.5 * bytes_of_numbers(plain[0])
    assert load_model(small).network is not None


def bytes_of_numbers(path):
    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(path).graph.initializer)


@pytest.mark.slow
def test_a_file_says_nothing_of_the_machine_that_made_it(tiny_run, plain, eight_bits):
    folders = [str(Path(module.__file__).parent) for module in (torch, squeezekit)]
    for path, _said in (plain, eight_bits):
        content = path.read_bytes()
        for word in (*folders, "site-packages", str(tiny_run.folder), "stack_trace"):
            assert word.encode() not in content


def test_what_cannot_be_exported_says_why(tiny_run, tmp_path):
    with pytest.raises(SqueezekitError, match="ends in .onnx"):
        export_onnx(tiny_run.folder, tmp_path / "digits.sqz")
    with pytest.raises(SqueezekitError, match="holds no images; name them with --data"):
        export_onnx(GOLDEN, tmp_path / "x.onnx", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_onnx_already_or_no_file_of_ours_says_so(plain, tmp_path):
    out, _said = plain
    with pytest.raises(SqueezekitError, match="is ONNX already"):
        export_onnx(out, tmp_path / "y.onnx")
    graph = onnx.load(out)
    (tmp_path / "cut.onnx").write_bytes(out.read_bytes()[:5000])
    with pytest.raises(SqueezekitError, match=r"cut.onnx: cannot be read as ONNX"):
        load_model(tmp_path / "cut.onnx")
    for value, said in (("{", "damaged"), ('{"classes": ["a"]}', "damaged"), (None, "was not made by squeezekit")):
        del graph.metadata_props[:]
        if value:
            entry = graph.metadata_props.add()
            entry.key, entry.value = "squeezekit", value
        onnx.save(graph, tmp_path / "other.onnx")
        with pytest.raises(SqueezekitError, match=said):
            load_model(tmp_path / "other.onnx")


class Branching(torch.nn.Module):
    """A network of somebody's own that no graph can hold."""

    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else -x.mean((2, 3))


@pytest.mark.slow
def test_a_network_that_no_graph_can_hold_ends_in_a_sentence():
    config = network_config("squeezenet-cifar", classes=3)
    model = Model("own", Branching(), config, tuple("abc"), None, None, lambda images: np.arange(0))
    with pytest.raises(SqueezekitError, match=r"own: torch.onnx cannot convert its network \(.+\); replace that layer"):
        graph_of(model)
