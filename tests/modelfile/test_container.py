"""JSON in a file is compact and holds nothing but JSON."""

import json

import pytest

from squeezekit import SqueezekitError
from squeezekit.modelfile import container
from squeezekit.networks import network_config


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"Infinity"])
def test_numbers_that_are_none_are_refused_wherever_they_stand(number):
    assert container.decode_json(container.encode_text(b'{"x": [0.5]}')) == {"x": [0.5]}
    with pytest.raises(SqueezekitError, match="not JSON"):
        container.decode_json(container.encode_text(b'{"x": [' + number + b"]}"))


def test_json_is_compact():
    content = {"network": network_config("squeezenet-cifar").model_dump(mode="json")}
    assert len(container.encode_json(content)) < 0.8 * len(json.dumps(content, separators=(",", ":")))
