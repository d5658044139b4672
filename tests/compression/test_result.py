"""What a compression returns."""

import json

from squeezekit.compression.result import BeforeAfter, Compressed
from squeezekit.modelfile.sqz import Stage


def test_a_result_becomes_plain_data():
    stage = Stage(name="PTQ", bytes=1000, density=0.5, bits=2.0, accuracy=0.9)
    result = Compressed("x.sqz", True, 1000, 20.0, "validation", BeforeAfter(0.91, 0.9), None, (stage,), (stage,), 1.5)
    plain = json.loads(json.dumps(result.as_json()))
    assert plain["validation"] == {"before": 0.91, "after": 0.9} and plain["test"] is None
    assert plain["stages"] == plain["candidates"] == [stage.model_dump()]
