"""What a device reads of a file, and what it refuses."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from squeezekit import SqueezekitError
from squeezekit.codec.tensors import encode_tensors
from squeezekit.device import coded_numbers, model
from squeezekit.device.classifier import DeviceClassifier
from squeezekit.device.library import library_path
from squeezekit.device.model import KnownRule, read_model
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.modelfile.coded_text import decode_json, encode_json
from squeezekit.modelfile.container import join_sections, split_sections
from squeezekit.modelfile.sqz import from_bytes, read_sqz
from squeezekit.pretrained.files import model_path
from tests.fixtures.mutation import mutated

pytestmark = pytest.mark.skipif(not library_path().exists(), reason="a device has Linux on x86-64 or AArch64")
MODEL = model_path("cifar10-pico")
EXAMPLE = Path(__file__).parents[2] / "examples" / "three.png"


def with_content(tag, change):
    """The file, digest and all, with the JSON of a section changed in place."""
    sections = split_sections(MODEL.read_bytes())
    content = decode_json(sections[tag])
    change(content)
    return join_sections({**sections, tag: encode_json(content)})


def refusal(data, tmp_path):
    (tmp_path / "changed.sqz").write_bytes(data)
    with pytest.raises(SqueezekitError) as caught:
        read_model(tmp_path / "changed.sqz")
    return str(caught.value)


def test_what_a_file_says():
    found, sqz = read_model(MODEL), read_sqz(MODEL)
    assert found.classes == sqz.classes and found.expected == sqz.self_check.logits and found.seeds == sqz.self_check.seeds
    calibration = sqz.probability_calibration
    assert (found.temperature, found.threshold) == (calibration.temperature, calibration.threshold)
    rule = sqz.none_of_these
    assert found.known_rule == KnownRule(rule.weights, rule.biases, rule.least)


def test_a_file_without_what_is_optional_is_read(tmp_path):
    bare = replace(from_bytes(MODEL.read_bytes()), probability_calibration=None, self_check=None, none_of_these=None, stages=())
    bare.write(tmp_path / "bare.sqz")
    found = read_model(tmp_path / "bare.sqz")
    assert (found.temperature, found.threshold, found.known_rule, found.expected) == (1.0, 0.0, None, ())
    data = replace(bare, activation_ranges=None).to_bytes()
    assert "has no activation ranges, which integers need; compress its run again" in refusal(data, tmp_path)


@pytest.mark.parametrize(
    ("tag", "change", "said"),
    [
        ("Netw", lambda c: c["network"].update(image_size=10**9), "image_size"),
        ("Netw", lambda c: c["network"].update(std=[0]), "std"),
        ("Netw", lambda c: c["network"].update(depths=[[1]]), "depths"),
        ("Netw", lambda c: c["network"].update(block="other"), "block"),
        ("Netw", lambda c: c["network"].update(depths=[1, 1, 1]), "its weights are not those of its network"),
        ("Netw", lambda c: c["network"].update(depths=[64, 64, 64]), "its weights are not those of its network"),
        ("Netw", lambda c: c["network"].update(channels=1, mean=[0], std=[1]), "does not fit the layers before it"),
        ("Netw", lambda c: c["network"].update(classes=11), "its weights are not those of its network"),
        ("Netw", lambda c: c["network"].pop("widths"), "has no integer form"),
        ("Netw", lambda c: c["classes"].pop(), "its classes are not those of its network"),
        ("Netw", lambda c: c.update(resize="other"), "install a newer one"),
        ("rang", lambda c: c["low"].pop(), "activation ranges do not fit"),
        ("rang", lambda c: c["high"].__setitem__(0, 1e300), "its activation ranges is none of ours"),
        ("conf", lambda c: c.update(temperature=0), "its probability calibration is none of ours"),
        ("chck", lambda c: c["logits"].pop(), "its self-check is none of ours"),
        ("chck", lambda c: c.update(seeds=[1] * 9, logits=c["logits"][:1] * 9), "its self-check is none of ours"),
        ("none", lambda c: c["biases"].pop(), "its rule for none of these is none of ours"),
        ("none", lambda c: c.update(weights=[]), "its rule for none of these is none of ours"),
    ],
)
def test_what_cannot_be_is_a_sentence(tag, change, said, tmp_path):
    assert said in refusal(with_content(tag, change), tmp_path)


def with_tensors(name, change):
    """The file of a pretrained model with other tensors."""
    sqz = read_sqz(model_path(name))
    weights = dict(sqz.weights)
    change(weights)
    sections = split_sections(model_path(name).read_bytes())
    return join_sections({**sections, "Wght": encode_tensors(weights)})


def test_filters_without_sides_are_refused(tmp_path):
    def flat(weights):
        part = weights["features.2.squeeze.weight"].dequantize()
        weights["features.2.squeeze.weight"] = part.reshape(part.shape[:2])

    assert "its weights are not those of its network" in refusal(with_tensors("digits-nano", flat), tmp_path)


def test_ranges_stand_in_the_order_of_the_weights(tmp_path):
    """Another writer may have another one."""
    sections = split_sections(MODEL.read_bytes())
    ranges, sqz = decode_json(sections["rang"]), read_sqz(MODEL)
    turned = {name: numbers[::-1] for name, numbers in ranges.items()}
    weights = dict(reversed(sqz.weights.items()))
    (tmp_path / "turned.sqz").write_bytes(
        join_sections({**sections, "Wght": encode_tensors(weights), "rang": encode_json(turned)})
    )
    for found, wanted in (
        (read_model(tmp_path / "turned.sqz").plan, read_model(MODEL).plan),
        (integer_plan(load_model(tmp_path / "turned.sqz")), integer_plan(load_model(MODEL))),
    ):
        assert found.feature_maps == wanted.feature_maps
        assert [list(step.gain) for step in found.steps if hasattr(step, "gain")] == [
            list(step.gain) for step in wanted.steps if hasattr(step, "gain")
        ]


def test_outputs_that_are_all_negative_are_a_plan_or_a_sentence(tmp_path):
    """As of a bypass whose source has large steps."""
    sections = split_sections(MODEL.read_bytes())
    ranges = decode_json(sections["rang"])
    low, high = ([edge] * len(ranges["low"]) for edge in (-1e9, 1e9))
    for number in range(len(low)):
        changed = [*high]
        changed[number] = -1e9
        (tmp_path / "odd.sqz").write_bytes(join_sections({**sections, "rang": encode_json({"low": low, "high": changed})}))
        with contextlib.suppress(SqueezekitError):
            read_model(tmp_path / "odd.sqz")


@pytest.mark.parametrize("limit", ["MAX_MACS", "MAX_VALUES"])
def test_what_a_device_has_no_memory_or_time_for_is_refused(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(model, limit, 1000)
    assert "takes more memory or time than a device has" in refusal(MODEL.read_bytes(), tmp_path)
    monkeypatch.setattr(coded_numbers, "MOST_VALUES", 1000)
    assert "weights, and a device takes at most 1,000" in refusal(MODEL.read_bytes(), tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    data = MODEL.read_bytes()
    assert "its digest is not that of its content" in refusal(data[:-40] + b"x" + data[-39:], tmp_path)
    assert refusal(b"", tmp_path).startswith(str(tmp_path / "changed.sqz"))


@pytest.mark.slow
def test_whatever_sections_hold_it_is_read_or_refused(tmp_path):
    """With a digest that fits, as somebody who means harm would make it."""
    sections = split_sections(MODEL.read_bytes())
    for tag in ("Netw", "Wght", "rang", "none"):
        for content in mutated([sections[tag]], 60):
            (tmp_path / "changed.sqz").write_bytes(join_sections({**sections, tag: content}))
            try:
                read_model(tmp_path / "changed.sqz")
            except SqueezekitError as error:
                assert str(error).startswith(str(tmp_path))


@pytest.mark.slow
def test_whatever_numbers_stand_there_it_is_read_and_answers_or_is_refused(tmp_path):
    """Values of JSON that still is some, which reach the arithmetic."""
    random, values = np.random.default_rng(0), [0, -1, 1, 2**40, -1e9, 1e9, 1e-30, 3.5, "x", None, [], {}, True]
    seen = set()
    for tag in ("Netw", "rang", "none", "conf", "chck"):
        for _ in range(40):
            data = with_content(tag, lambda content: put_anywhere(content, random, values))
            (tmp_path / "changed.sqz").write_bytes(data)
            try:
                found = DeviceClassifier(tmp_path / "changed.sqz")
                found.answer(EXAMPLE)
                seen.add("answered")
            except SqueezekitError:
                seen.add("refused")
    assert seen == {"answered", "refused"}


def put_anywhere(content, random, values):
    """One of the values in a place of a tree of lists and tables that is drawn."""
    while True:
        keys = list(content) if isinstance(content, dict) else range(len(content))
        key = keys[int(random.integers(len(keys)))]
        inner = content[key]
        if not isinstance(inner, list | dict) or not inner or random.random() < 0.2:
            content[key] = values[int(random.integers(len(values)))]
            return
        content = inner
