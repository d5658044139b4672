"""A `.sqz` file holds everything, says when it does not, and believes nothing."""

import hashlib
import json
import os
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit import Classifier, SqueezekitError, evaluate
from squeezekit.acceleration.folding import folded
from squeezekit.codec.coder_tables import COARSE, FINE
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import from_log_steps
from squeezekit.codec.tensors import encode_tensors
from squeezekit.codec.varint import ByteWriter
from squeezekit.data.sources import load_images
from squeezekit.modelfile import coded_text, container, sqz
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.check_image import TOLERANCE
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.modelfile.sqz import RESIZE, Sqz, Stage, from_bytes, read_sqz
from squeezekit.networks import network_config
from squeezekit.training.run_folder import Run


@pytest.fixture(scope="module")
def small():
    """A network with batch normalization and both kinds of bypass, folded."""
    torch.manual_seed(0)
    config = network_config("squeezenet-cifar", base_e=8, incr_e=8, stem_width=8, depth=4, bypass="complex", batch_norm=True)
    network = config.build()
    network.train()
    for _ in range(3):
        network(torch.rand(8, 3, 32, 32))
    network.eval()
    weights = {name: tensor.numpy() for name, tensor in folded(network).state_dict().items()}
    names = tuple(f"class {i}" for i in range(10))
    return network, Sqz(config.model_copy(update={"batch_norm": False}), names, weights)


def test_folding_changes_nothing(small):
    network, sqz = small
    images = torch.rand(4, 3, 32, 32)
    assert torch.allclose(network(images), from_bytes(sqz.to_bytes()).build()(images), atol=1e-5)


def whole(small):
    network, sqz = small
    logits, labels = torch.randn(200, 10) * 5, torch.randint(10, (200,))
    rule = {"seed": 1, "validation_share": 0.1, "limit": 0, "digest": "0" * 16}
    provenance = {"squeezekit": "0", "fingerprint": "a", "test_fingerprint": "b", "split": rule, "recipe": {}, "accuracy": {}}
    return Sqz(
        sqz.network,
        sqz.classes,
        sqz.weights,
        stages=(Stage(name="quantized", bytes=1000, density=0.5, bits=2.0, accuracy=0.9),),
        provenance=Provenance.read(provenance),
        probability_calibration=ProbabilityCalibration.fit(logits, labels),
        self_check=SelfCheck.of(network, sqz.network),
        activation_ranges=ActivationRanges.of(sqz.build(), [(torch.rand(8, 3, 32, 32), torch.zeros(8))]),
        other_sections={"zzzz": b"from the future"},
    )


def test_everything_comes_back_and_gives_the_same_bytes(small):
    written = whole(small)
    data = written.to_bytes()
    read = from_bytes(data)
    assert read.to_bytes() == data
    for name in (
        "network",
        "classes",
        "stages",
        "provenance",
        "probability_calibration",
        "self_check",
        "activation_ranges",
        "other_sections",
    ):
        assert getattr(read, name) == getattr(written, name)
    assert read.self_check.difference(read.build(), read.network) < TOLERANCE


def with_digest(data):
    return data + hashlib.sha256(data).digest()


def with_section(data, tag, content):
    sections = {**container.split_sections(data), tag: content}
    writer = ByteWriter()
    writer.write_bytes(container.MAGIC)
    writer.write_integer(container.VERSION)
    writer.write_integer(len(sections))
    for name, part in sections.items():
        writer.write_bytes(name.encode())
        writer.write_integer(len(part))
        writer.write_bytes(part)
    return with_digest(bytes(writer))


def test_an_unknown_section_is_skipped_or_refused(small):
    data = small[1].to_bytes()
    assert from_bytes(with_section(data, "xtra", b"1")).other_sections == {"xtra": b"1"}
    with pytest.raises(SqueezekitError, match="'Xtra'"):
        from_bytes(with_section(data, "Xtra", b"1"))


def test_a_later_version_asks_for_a_newer_squeezekit(small):
    data = bytearray(small[1].to_bytes()[:-32])
    data[4] = 2
    with pytest.raises(SqueezekitError, match="version 2.*newer"):
        from_bytes(with_digest(bytes(data)))


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "cat.sqz").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(SqueezekitError, match=r"cat.sqz: not a .sqz file"):
        read_sqz(tmp_path / "cat.sqz")
    with pytest.raises(SqueezekitError, match="cannot be read"):
        read_sqz(tmp_path)


@pytest.mark.parametrize(
    "about",
    [
        [],
        {},
        {"network": {"name": "report"}},
        {"network": {"name": "nothing"}, "classes": ["a"], "resize": RESIZE},
        {"network": {"name": "report", "depth": 10**9}, "classes": [], "resize": RESIZE},
        {"network": {"name": "report"}, "classes": ["a"] * 10, "resize": RESIZE},
        {"network": {"name": "report"}, "classes": list(range(10)), "resize": RESIZE},
        {"network": {"name": "report"}, "classes": list("abcdefghij"), "resize": "nearest"},
        {
            "network": {"name": "report", "base_e": 4096, "depth": 64, "pool_before": [1]},
            "classes": list("abcdefghij"),
            "resize": RESIZE,
        },
    ],
)
def test_a_network_that_does_not_fit_is_refused(small, about):
    data = with_section(small[1].to_bytes(), container.NETWORK, coded_text.encode_json(about))
    # What is imported with the first file is not what this one costs.
    from_bytes(small[1].to_bytes())
    begin = time.process_time()
    with pytest.raises(SqueezekitError):
        from_bytes(data)
    assert time.process_time() - begin < 1


def about(fields, classes=2):
    return {"network": {"name": "report", **fields}, "classes": [f"c{i}" for i in range(classes)], "resize": RESIZE}


NARROW = {"base_e": 2, "incr_e": 0, "depth": 1, "pool_before": [1], "squeeze_ratio": 0.5, "classes": 2}
DEEP = {"base_e": 64, "incr_e": 0, "stem_width": 64, "depth": 64, "pool_before": [], "squeeze_ratio": 1, "classes": 2}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (about({**NARROW, "stem_width": 4096, "image_size": 1024}), "MACs"),
        (about({**NARROW, "stem_width": 4096, "image_size": 256}), "values between two layers"),
        (about({**DEEP, "image_size": 1024}), "MACs"),
        (about({"start": 10**12}), "start"),
        (about({"start": 1000, "freq": 1, "incr_e": 4096, "classes": 2}), "parameters"),
        (about({"classes": 10**18}), "classes"),
        (about({"mean": [1e300]}), "mean"),
        (about({"std": [0.0]}), "std"),
    ],
)
def test_what_a_network_takes_is_bounded_before_anything_is_allocated(small, content, said):
    data = with_section(small[1].to_bytes(), container.NETWORK, coded_text.encode_json(content))
    begin = time.process_time()
    with pytest.raises(SqueezekitError, match=said):
        from_bytes(data)
    assert time.process_time() - begin < 0.5


def test_tensors_of_another_network_are_not_decoded(small):
    bomb = encode_tensors({"x": np.zeros(2_000_000, np.float32)})
    assert len(bomb) < 20_000
    data = with_section(small[1].to_bytes(), container.WEIGHTS, bomb)
    from_bytes(small[1].to_bytes())
    tracemalloc.start()
    try:
        with pytest.raises(SqueezekitError, match="not those of its network"):
            from_bytes(data)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_a_file_larger_than_any_network_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sqz, "MAX_BYTES", 1000)
    (tmp_path / "large.sqz").write_bytes(bytes(1001))
    with pytest.raises(SqueezekitError, match=r"large.sqz: is larger than 1,000 bytes"):
        read_sqz(tmp_path / "large.sqz")


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.sqz")
    with pytest.raises(SqueezekitError, match=r"pipe.sqz: is not a file"):
        read_sqz(tmp_path / "pipe.sqz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_are_finite_when_written_and_when_read(small, value):
    broken = {name: np.full_like(part, value) for name, part in small[1].weights.items()}
    with pytest.raises(SqueezekitError, match="no finite numbers, in 'features.0.weight'"):
        replace(small[1], weights=broken).to_bytes()
    with pytest.raises(SqueezekitError, match="no finite numbers"):
        from_bytes(with_section(small[1].to_bytes(), container.WEIGHTS, encode_tensors(broken)))


@pytest.mark.parametrize("name", ["", "\ud800", "a\0b", "x" * 1001, "class 1"])
def test_names_of_classes_are_checked_when_written_and_when_read(small, name):
    with pytest.raises(SqueezekitError):
        replace(small[1], classes=(name, *small[1].classes[1:])).to_bytes()
    fields = small[1].network.model_dump(mode="json")
    text = json.dumps({"network": {**fields, "name": "report"}, "classes": [name, *small[1].classes[1:]], "resize": RESIZE})
    with pytest.raises(SqueezekitError) as found:
        from_bytes(with_section(small[1].to_bytes(), container.NETWORK, coded_text.encode_text(text.encode())))
    assert str(found.value).isprintable() and len(str(found.value)) < 200


def test_control_characters_in_names_survive(small):
    names = ("\x1b[31mred\n", "\u202eright to left", *small[1].classes[2:])
    assert from_bytes(replace(small[1], classes=names).to_bytes()).classes == names


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (container.PROBABILITY_CALIBRATION, {"temperature": 1e-320, "threshold": 0.5}),
        (container.PROBABILITY_CALIBRATION, {"temperature": 1e300, "threshold": 0.5}),
        (container.PROBABILITY_CALIBRATION, {"temperature": 1, "threshold": 2}),
        (container.NONE_OF_THESE, {"weights": [[1 << 40] * 10], "biases": [0], "least": 0}),
        (container.NONE_OF_THESE, {"weights": [[1] * 9], "biases": [0], "least": 0}),
        (container.NONE_OF_THESE, {"weights": [], "biases": [1 << 60], "least": 0}),
        (container.ACTIVATION_RANGES, {"low": [-1e300] * 16, "high": [1e300] * 16}),
        (container.SELF_CHECK, {"seeds": [10**4000], "logits": [[0] * 10]}),
        (container.SELF_CHECK, {"seeds": [-1], "logits": [[0] * 10]}),
        (container.SELF_CHECK, {"seeds": [1], "logits": [[1e308] * 10]}),
        (container.STAGES, [{"name": "x", "bytes": 1, "density": 1e308, "bits": 1, "accuracy": 1}]),
        (container.STAGES, [{"name": "x", "bytes": 1, "density": 1, "bits": 1, "accuracy": 1}] * 1001),
    ],
)
def test_numbers_that_would_break_their_use_are_refused(small, tag, content):
    assert len(small[1].weights) // 2 >= 16
    with pytest.raises(SqueezekitError, match=r"damaged: .*get the file again"):
        from_bytes(with_section(small[1].to_bytes(), tag, coded_text.encode_json(content)))


@pytest.mark.parametrize("change", [{"seed": -1}, {"limit": -5}, {"validation_share": 1.5}])
def test_a_split_that_nobody_can_make_is_refused(small, change):
    provenance = whole(small).provenance.model_dump(mode="json")
    content = {**provenance, "split": {**provenance["split"], **change}}
    with pytest.raises(SqueezekitError, match="damaged: its provenance"):
        from_bytes(with_section(small[1].to_bytes(), container.PROVENANCE, coded_text.encode_json(content)))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"a": NaN}', b"1e999", b'"\\ud800"', b"[" * 40 + b"]" * 40, b"9" * 5000]
)
def test_json_that_is_none_is_refused(small, text):
    for tag in (
        container.NETWORK,
        container.STAGES,
        container.PROBABILITY_CALIBRATION,
        container.PROVENANCE,
        container.SELF_CHECK,
        container.ACTIVATION_RANGES,
    ):
        with pytest.raises(SqueezekitError):
            from_bytes(with_section(small[1].to_bytes(), tag, coded_text.encode_text(text)))


@pytest.mark.parametrize(
    "tag",
    [
        container.STAGES,
        container.PROBABILITY_CALIBRATION,
        container.PROVENANCE,
        container.SELF_CHECK,
        container.ACTIVATION_RANGES,
    ],
)
@pytest.mark.parametrize(
    "content",
    [
        1,
        [],
        {"a": 1},
        [[]],
        "text",
        {"temperature": 0},
        {"seeds": [1], "logits": [[1]]},
        {"seeds": [], "logits": []},
        {"low": [0], "high": [1]},
        {"low": [1] * 16, "high": [0] * 16},
        {"low": [0] * 16, "high": [1] * 15},
    ],
)
def test_a_known_section_with_other_content_is_refused(small, tag, content):
    data = with_section(small[1].to_bytes(), tag, coded_text.encode_json(content))
    if (tag, content) == (container.STAGES, []):
        assert from_bytes(data).stages == ()
        return
    with pytest.raises(SqueezekitError):
        from_bytes(data)


def test_cut_short_or_changed_anywhere(small):
    data = whole(small).to_bytes()
    for length in range(0, len(data), 97):
        with pytest.raises(SqueezekitError):
            from_bytes(data[:length])
    for place in range(0, len(data), 89):
        changed = bytearray(data)
        changed[place] ^= 4
        with pytest.raises(SqueezekitError):
            from_bytes(bytes(changed))


@pytest.fixture(scope="module")
def tiniest():
    """The bytes of a file with every kind of section and of weights, as short as they can be."""
    torch.manual_seed(0)
    config = network_config("squeezenet-cifar", base_e=4, incr_e=4, stem_width=4, depth=2, pool_before=(1,), batch_norm=True)
    network = config.build().eval()
    names = tuple(f"class {i}" for i in range(10))
    sqz = Sqz(config.folded(), names, {name: tensor.numpy() for name, tensor in folded(network).state_dict().items()})
    weights = {}
    for number, (name, array) in enumerate(sqz.weights.items()):
        resolution = FINE if number % 4 else COARSE
        scales = from_log_steps(np.full(len(array), 4001 if number % 4 else 1000), resolution)
        weights[name] = Quantized(np.rint(5 * array).astype(np.int64), scales) if array.ndim == 4 and number > 2 else array
    return whole((network, replace(sqz, weights=weights))).to_bytes()


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_hostile_writer_who_knows_the_digest(tiniest, data):
    content = bytearray(tiniest[:-32])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    begin = time.process_time()
    try:
        from_bytes(with_digest(bytes(content)))
    except SqueezekitError as error:
        assert "\n" not in str(error)
    assert time.process_time() - begin < 1


@pytest.fixture(scope="module")
def digits_file(tiny_run, tmp_path_factory):
    network, config = tiny_run.network(), tiny_run.config.network
    weights = {name: tensor.contiguous().numpy() for name, tensor in network.state_dict().items()}
    images = load_images("digits", image_size=config.image_size, channels=config.channels).training
    path = tmp_path_factory.mktemp("sqz") / "digits.sqz"
    plain = Run(tiny_run.folder)
    sqz = Sqz(
        config,
        images.classes,
        weights,
        provenance=Provenance.of(plain, {}),
        probability_calibration=ProbabilityCalibration(temperature=2, threshold=0.5),
    )
    if config.batch_norm:
        plain_config = config.model_copy(update={"batch_norm": False})
        arrays = {name: tensor.numpy() for name, tensor in folded(network.eval()).state_dict().items()}
        sqz = Sqz(
            plain_config, images.classes, arrays, provenance=sqz.provenance, probability_calibration=sqz.probability_calibration
        )
    sqz.write(path)
    return path


@pytest.mark.slow
def test_a_file_serves_wherever_a_run_does(tiny_run, digits_file):
    for split in ("test", "validation"):
        assert evaluate(digits_file, "digits", split).accuracy == evaluate(tiny_run.folder, split=split).accuracy
    pixels = list(load_images("digits").test.images[:40])
    by_file, by_run = Classifier.load(digits_file).classify(pixels), Classifier.load(tiny_run.folder).classify(pixels)
    assert [answer.label for answer in by_file] == [answer.label for answer in by_run]
    assert [answer.unsure for answer in by_file] == [answer.probability < 0.5 for answer in by_file]
    assert not any(answer.unsure for answer in by_run)


def test_a_file_needs_images_to_be_evaluated(digits_file):
    with pytest.raises(SqueezekitError, match="--data"):
        evaluate(digits_file)


def test_validation_images_that_are_others_are_refused(digits_file, tmp_path):
    read = read_sqz(digits_file)
    rule = read.provenance.split.model_copy(update={"seed": 5})
    changed = Sqz(read.network, read.classes, read.weights, provenance=read.provenance.model_copy(update={"split": rule}))
    changed.write(tmp_path / "other.sqz")
    with pytest.raises(SqueezekitError, match="splits the images in another way"):
        evaluate(tmp_path / "other.sqz", "digits", "validation")


# Beside other tests a processor takes longer: three times what the docs state for a quiet one.
MAX_SECONDS, MAX_MEGABYTES = 0.9, 100

READ = """
import json, resource, sys, time
from pathlib import Path
from squeezekit.modelfile.sqz import read_sqz

# What is imported with the first file is not what this one costs.
small, path = map(Path, sys.argv[1:])
read_sqz(small).build()
before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
file = read_sqz(path)
seconds = time.process_time() - begin
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps({"seconds": seconds, "megabytes": more / 1024}))
"""


# In a process of its own, whose memory nobody else has widened.
@pytest.mark.slow
def test_a_file_of_730_000_weights_is_read_in_little_time_and_memory(small, tmp_path):
    config, random, weights = network_config("squeezenet-late"), np.random.default_rng(0), {}
    for name, tensor in config.build().state_dict().items():
        if tensor.ndim == 4:
            integers = np.rint(random.laplace(scale=1.2, size=tuple(tensor.shape))).astype(np.int64)
            weights[name] = Quantized(integers, from_log_steps(900 + random.integers(0, 40, len(integers))))
        else:
            weights[name] = np.zeros(tuple(tensor.shape), np.float32)
    Sqz(config, tuple("0123456789"), weights).write(tmp_path / "late.sqz")
    small[1].write(tmp_path / "small.sqz")
    command = [sys.executable, "-c", READ, str(tmp_path / "small.sqz"), str(tmp_path / "late.sqz")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert sum(part.integers.size for part in weights.values() if isinstance(part, Quantized)) > 720_000
    assert found["megabytes"] < MAX_MEGABYTES
    assert found["seconds"] < MAX_SECONDS
