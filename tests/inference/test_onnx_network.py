"""An `.onnx` file from a stranger: refused in one sentence, or what it says it is."""

import os

import pytest

from squeezekit import Classifier, SqueezekitError
from squeezekit.inference import onnx_network
from squeezekit.inference.onnx_network import read_onnx
from tests.fixtures.onnx_graphs import (
    CLASSES,
    METADATA,
    SIDE,
    brightness,
    external,
    graph_bytes,
    huge_constant,
    loop_for_ever,
    node,
)

pytest.importorskip("onnxruntime")


def file(tmp_path, content):
    path = tmp_path / "stranger.onnx"
    path.write_bytes(content)
    return path


@pytest.mark.slow
def test_a_file_that_is_what_it_says(tmp_path):
    import numpy as np

    classify = Classifier.load(file(tmp_path, brightness()))
    # More pictures than are run at once.
    pictures = np.stack([np.full((SIDE, SIDE, 1), value, np.uint8) for value in (0, 3) * 20])
    answers = classify.classify_pixels(pictures)
    assert [answer.label for answer in answers[1::2]] == ["bright"] * 20
    assert all(answer.probability == pytest.approx(0.5) for answer in answers[::2])


REFUSED = {
    "no metadata": (brightness(metadata=None), "was not made by squeezekit"),
    "not JSON": (brightness(metadata="{"), "damaged"),
    "deep": (brightness(metadata="[" * 100_000), "damaged"),
    "NaN": (brightness(metadata='{"classes": NaN}'), "damaged"),
    "half a pair": (brightness(metadata={**METADATA, "classes": ["\ud800", "b"]}), "damaged"),
    "no name": (brightness(metadata={**METADATA, "classes": ["", "b"]}), "name of class"),
    "one name twice": (brightness(metadata={**METADATA, "classes": ["a", "a"]}), "damaged"),
    "a million classes": (brightness(metadata={**METADATA, "classes": list(map(str, range(70_000)))}), "classes"),
    "a large picture": (brightness(metadata={**METADATA, "image_size": 10**9}), "image_size"),
    "a network without a name": (brightness(metadata={**METADATA, "network": {"name": ["x"]}}), "name"),
    "a tiny temperature": (brightness(metadata={**METADATA, "confidence": {"temperature": 1e-320}}), "temperature"),
    "another file": (graph_bytes([node("Cast", ["w"], to=1)], [external("w", "/etc/passwd")]), "other files of this machine"),
    "a loop": (loop_for_ever(), "loops, branches"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_is_refused_before_a_runtime_sees_it(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_network, "_try", lambda *_arguments: pytest.fail("it was run"))
    content, said = REFUSED[kind]
    with pytest.raises(SqueezekitError, match=said) as found:
        read_onnx(file(tmp_path, content))
    assert str(found.value).startswith(str(tmp_path)) and str(found.value).isprintable() and len(str(found.value)) < 500


TRIED = {
    "other logits": (brightness(classes=5), "logits are not those of the 2 classes"),
    "fewer names": (brightness(metadata={**METADATA, "classes": [*CLASSES, "third"]}), "logits are not those of the 3 classes"),
    "another size": (brightness(metadata={**METADATA, "image_size": 16}), "cannot be read as ONNX"),
    "an operator without its input": (graph_bytes([node("Relu", ["nothing"])]), "cannot be read as ONNX"),
    "12 GB": (huge_constant(3 * 10**9), "cannot be read as ONNX|too much memory"),
    "40 TB": (huge_constant(10**13), "cannot be read as ONNX|too much memory"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRIED)
def test_the_first_run_is_bounded_and_must_fit(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_network, "_session", lambda *_arguments: pytest.fail("it was loaded here"))
    content, said = TRIED[kind]
    with pytest.raises(SqueezekitError, match=said) as found:
        read_onnx(file(tmp_path, content))
    assert str(found.value).isprintable()


def test_a_first_run_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_network, "TRIAL_SECONDS", 0.01)
    with pytest.raises(SqueezekitError, match="its first run takes too long"):
        read_onnx(file(tmp_path, brightness()))


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(SqueezekitError, match=r"pipe.onnx: is not a file"):
        read_onnx(tmp_path / "pipe.onnx")
