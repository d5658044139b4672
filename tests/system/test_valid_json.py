"""What is written is JSON."""

import json
import math

import pytest

from squeezekit.system.valid_json import as_json


def test_numbers_that_json_does_not_have_are_null():
    value = {"a": [math.nan, 1.5, (math.inf, True)], "b": {"c": -math.inf}, "d": "NaN"}
    read = json.loads(as_json(value), parse_constant=lambda name: pytest.fail(name))
    assert read == {"a": [None, 1.5, [None, True]], "b": {"c": None}, "d": "NaN"}
