"""JSON in a file is compact and holds nothing but JSON."""

import json

import pytest

from squeezekit import SqueezekitError
from squeezekit.modelfile import coded_text, container
from squeezekit.networks import network_config


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity"])
def test_numbers_that_are_none_are_refused_wherever_they_stand(number):
    assert coded_text.decode_json(coded_text.encode_text(b'{"x": [0.5]}')) == {"x": [0.5]}
    with pytest.raises(SqueezekitError, match="not JSON"):
        coded_text.decode_json(coded_text.encode_text(b'{"x": [' + number + b"]}"))


def test_json_is_compact():
    content = {"network": network_config("squeezenet-cifar").model_dump(mode="json")}
    assert len(coded_text.encode_json(content)) < 0.8 * len(json.dumps(content, separators=(",", ":")))


def test_a_text_has_an_end(monkeypatch):
    monkeypatch.setattr(container, "MAX_TEXT", 100)
    monkeypatch.setattr(coded_text, "MAX_TEXT", 100)
    assert coded_text.decode_json(coded_text.encode_json("x" * 98)) == "x" * 98
    with pytest.raises(SqueezekitError, match="a text in it is too long"):
        coded_text.decode_text(coded_text.encode_text(b"x" * 101))
    with pytest.raises(SqueezekitError, match="names and notes of 101 bytes"):
        coded_text.encode_json("x" * 99)


@pytest.mark.parametrize("content", ["\ud800", float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_json_and_utf8_cannot_hold_is_not_written(content):
    with pytest.raises(SqueezekitError, match="cannot hold what is to be written"):
        coded_text.encode_json(content)
