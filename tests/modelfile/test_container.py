"""JSON of a file is not nested without end."""

import json

import pytest

from squeezekit import SqueezekitError
from squeezekit.modelfile import container


def test_lists_in_lists_have_an_end():
    nested = 1
    for _ in range(container.MAX_DEPTH):
        nested = [nested]
    assert container.parse_json(json.dumps(nested)) == nested
    with pytest.raises(SqueezekitError, match="not JSON"):
        container.parse_json(json.dumps([nested]))
