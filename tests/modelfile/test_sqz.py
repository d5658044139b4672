"""A `.sqz` file holds everything, says when it does not, and believes nothing."""

import hashlib
import json
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit import Classifier, SqueezekitError, evaluate
from squeezekit.acceleration.folding import folded
from squeezekit.codec.log_scales import COARSE, FINE, from_log_steps, nearest_log_scale, steps_of, to_log_steps
from squeezekit.codec.varint import Fields
from squeezekit.data.sources import load_images
from squeezekit.modelfile import sqz as format
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.self_check import TOLERANCE, SelfCheck, check_image
from squeezekit.modelfile.sqz import Sqz, Stage, from_bytes, read_sqz
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
    origin = {"squeezekit": "0", "fingerprint": "a", "test_fingerprint": "b", "split": rule, "recipe": {}, "accuracy": {}}
    return Sqz(
        sqz.network,
        sqz.classes,
        sqz.weights,
        stages=(Stage(name="quantised", bytes=1000, density=0.5, bits=2.0, accuracy=0.9),),
        origin=Provenance.read(origin),
        confidence=ProbabilityCalibration.calibrated(logits, labels),
        self_check=SelfCheck.of(network, sqz.network),
        ranges=ActivationRanges.of(sqz.build(), [(torch.rand(8, 3, 32, 32), torch.zeros(8))]),
        others={"zzzz": b"from the future"},
    )


def test_everything_comes_back_and_gives_the_same_bytes(small):
    written = whole(small)
    data = written.to_bytes()
    read = from_bytes(data)
    assert read.to_bytes() == data
    for name in ("network", "classes", "stages", "origin", "confidence", "self_check", "ranges", "others"):
        assert getattr(read, name) == getattr(written, name)
    assert read.self_check.difference(read.build(), read.network) < TOLERANCE


def test_a_changed_weight_fails_the_self_check(small):
    read = from_bytes(whole(small).to_bytes())
    network = read.build()
    with torch.no_grad():
        network.features[0].weight[0] += 1
    assert read.self_check.difference(network, read.network) > TOLERANCE


def test_ranges_are_those_of_the_convolutions_in_the_order_of_the_file(small):
    _, sqz = small
    images = [torch.rand(8, 3, 32, 32), torch.rand(5, 3, 32, 32) * 2]
    found = ActivationRanges.of(sqz.build(), [(batch, torch.zeros(len(batch))) for batch in images])
    names = [name for name, part in sqz.weights.items() if part.ndim == 4]
    assert len(found.low) == len(names) and not sqz.build().features[0]._forward_hooks
    plain = sqz.build()
    with torch.inference_mode():
        stem = torch.cat([plain.features[0](batch) for batch in images])
        logits = torch.cat([plain(batch) for batch in images])
    for name, outputs in {"features.0.weight": stem, "classifier.1.weight": logits}.items():
        place = names.index(name)
        assert found.low[place] == pytest.approx(float(outputs.min()), rel=6e-3)
        assert found.high[place] == pytest.approx(float(outputs.max()), rel=6e-3)


def resealed(data):
    return data + hashlib.sha256(data).digest()


def with_section(data, tag, content):
    sections = {**format.sections_of(data), tag: content}
    fields = Fields(format.MAGIC, len(format.MAGIC))
    fields.write_integer(format.VERSION)
    fields.write_integer(len(sections))
    for name, part in sections.items():
        fields.write(name.encode())
        fields.write_integer(len(part))
        fields.write(part)
    return resealed(bytes(fields))


def test_an_unknown_section_is_skipped_or_refused(small):
    data = small[1].to_bytes()
    assert from_bytes(with_section(data, "xtra", b"1")).others == {"xtra": b"1"}
    with pytest.raises(SqueezekitError, match="'Xtra'"):
        from_bytes(with_section(data, "Xtra", b"1"))


def test_a_later_version_asks_for_a_newer_squeezekit(small):
    data = bytearray(small[1].to_bytes()[:-32])
    data[4] = 2
    with pytest.raises(SqueezekitError, match="version 2.*newer"):
        from_bytes(resealed(bytes(data)))


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
        {"network": {"name": "nothing"}, "classes": ["a"], "resize": format.RESIZE},
        {"network": {"name": "report", "depth": 10**9}, "classes": [], "resize": format.RESIZE},
        {"network": {"name": "report"}, "classes": ["a"] * 10, "resize": format.RESIZE},
        {"network": {"name": "report"}, "classes": list(range(10)), "resize": format.RESIZE},
        {"network": {"name": "report"}, "classes": list("abcdefghij"), "resize": "nearest"},
        {
            "network": {"name": "report", "base_e": 4096, "depth": 64, "pool_before": [1]},
            "classes": list("abcdefghij"),
            "resize": format.RESIZE,
        },
    ],
)
def test_a_network_that_does_not_fit_is_refused(small, about):
    data = with_section(small[1].to_bytes(), format.NETWORK, format.write_json(about))
    begin = time.process_time()
    with pytest.raises(SqueezekitError):
        from_bytes(data)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"a": NaN}', b"1e999"])
def test_json_that_is_none_is_refused(small, text):
    for tag in (format.NETWORK, format.STAGES, format.CONFIDENCE, format.ORIGIN, format.SELF_CHECK, format.RANGES):
        with pytest.raises(SqueezekitError):
            from_bytes(with_section(small[1].to_bytes(), tag, format.write_text(text)))


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity"])
def test_numbers_that_are_none_are_refused_wherever_they_stand(number):
    assert format.read_json(format.write_text(b'{"x": [0.5]}')) == {"x": [0.5]}
    with pytest.raises(SqueezekitError, match="not JSON"):
        format.read_json(format.write_text(b'{"x": [' + number + b"]}"))


@pytest.mark.parametrize("tag", [format.STAGES, format.CONFIDENCE, format.ORIGIN, format.SELF_CHECK, format.RANGES])
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
    data = with_section(small[1].to_bytes(), tag, format.write_json(content))
    if (tag, content) == (format.STAGES, []):
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


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_hostile_writer_who_knows_the_digest(small, data):
    content = bytearray(small[1].to_bytes()[:-32])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    begin = time.process_time()
    try:
        from_bytes(resealed(bytes(content)))
    except SqueezekitError as error:
        assert "\n" not in str(error)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("steps", [COARSE, FINE])
def test_octaves_are_exact_and_near(steps):
    exponents = np.arange(127 * steps + 1)
    scales = from_log_steps(exponents, steps)
    assert (to_log_steps(scales, steps) == exponents).all()
    assert np.allclose(np.log2(scales.astype(np.float64)), exponents / steps - 64, atol=1e-6)
    numbers = np.random.default_rng(0).lognormal(size=1000, sigma=5).astype(np.float32)
    assert np.abs(np.log2(nearest_log_scale(numbers, steps) / numbers)).max() < 0.5 / steps + 1e-5
    assert to_log_steps(np.float32([0.1]), steps) is None
    assert to_log_steps(np.float32([np.inf]), steps) is None and to_log_steps(np.float32([-1]), steps) is None


def test_coarse_octaves_are_among_the_fine():
    coarse = np.arange(0, 127 * COARSE + 1, 7)
    scales = from_log_steps(coarse)
    assert (to_log_steps(scales, FINE) == coarse * (FINE // COARSE)).all()
    assert steps_of(scales) == COARSE and steps_of(from_log_steps(np.array([64, 65]), FINE)) == FINE


def test_the_temperature_undoes_what_was_multiplied():
    torch.manual_seed(0)
    logits = torch.randn(4000, 5)
    labels = torch.distributions.Categorical(logits=logits).sample()
    confidence = ProbabilityCalibration.calibrated(3 * logits, labels)
    assert confidence.temperature == pytest.approx(3, rel=0.1)
    probabilities, answers = torch.softmax(3 * logits / confidence.temperature, 1).max(1)
    kept = (probabilities[answers == labels] >= confidence.threshold).double().mean()
    assert kept == pytest.approx(0.95, abs=0.002)


@pytest.mark.parametrize("images", [10, 1000])
def test_a_few_right_answers_make_no_certainty(images):
    logits = 5 * torch.eye(4)[torch.arange(images) % 4]
    confidence = ProbabilityCalibration.calibrated(logits, torch.arange(images) % 4)
    probability = torch.softmax(logits / confidence.temperature, 1).max(1).values.mean()
    assert 1 - probability == pytest.approx(1 / (images + 2), rel=0.01)


def test_certain_answers_are_not_unsure():
    logits = torch.zeros(100_000, 5)
    logits[:, 0] = 1
    confidence = ProbabilityCalibration.calibrated(logits, torch.zeros(100_000, dtype=torch.long))
    probabilities = torch.softmax(logits.double() / confidence.temperature, 1).max(1).values
    assert 0.99995 < probabilities.min() < 1 and (probabilities >= confidence.threshold).all()


def test_check_images_are_what_the_format_says():
    image = check_image(1, 32, 3)
    x = (1664525 * 1 + 1013904223) % 2**32
    assert image[0, 0, 0] == image[3, 3, 0] == x >> 24
    assert image[0, 0, 1] == (1664525 * x + 1013904223) % 2**32 >> 24
    assert check_image(1, 10, 1).shape == (10, 10, 1)


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
        origin=Provenance.of(plain, {}),
        confidence=ProbabilityCalibration(temperature=2, threshold=0.5),
    )
    if config.batch_norm:
        plain_config = config.model_copy(update={"batch_norm": False})
        arrays = {name: tensor.numpy() for name, tensor in folded(network.eval()).state_dict().items()}
        sqz = Sqz(plain_config, images.classes, arrays, origin=sqz.origin, confidence=sqz.confidence)
    sqz.write(path)
    return path


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
    rule = read.origin.split.model_copy(update={"seed": 5})
    changed = Sqz(read.network, read.classes, read.weights, origin=read.origin.model_copy(update={"split": rule}))
    changed.write(tmp_path / "other.sqz")
    with pytest.raises(SqueezekitError, match="divides the images in another way"):
        evaluate(tmp_path / "other.sqz", "digits", "validation")


def test_json_is_compact():
    content = {"network": network_config("squeezenet-cifar").model_dump(mode="json")}
    assert len(format.write_json(content)) < 0.8 * len(json.dumps(content, separators=(",", ":")))
