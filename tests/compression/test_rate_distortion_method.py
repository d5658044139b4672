"""Our own method."""

from types import SimpleNamespace

import pytest

from squeezekit import train
from squeezekit.codec.coder_tables import FINE
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import resolution_of
from squeezekit.compression.candidate import Candidate
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.rate_distortion_method import RateDistortionMethod
from squeezekit.compression.target import Target
from squeezekit.modelfile.sqz import Stage
from squeezekit.training.measurement import logits_of, measure
from tests.fixtures.tiny import TINY


def test_ptq_ends_where_no_weight_is_left():
    method = RateDistortionMethod(None, Target(0.1, max_drop=0.5, max_bytes=None))
    file = SimpleNamespace(stages=[Stage(name="x", bytes=50, density=0, bits=1, accuracy=0.1)])
    candidates = [Candidate("x", 0.0004, file)]
    assert method.next_ptq(candidates) is None and method.next_round(candidates, [], 1) is None


@pytest.mark.parametrize(
    ("tried", "following"),
    [
        # Rate weight, bytes, accuracy: of at most 100 bytes, and 0.9 before.
        ([(0.0004, 500, 0.9)], 0.0016),
        ([(0.0004, 120, 0.9)], 0.0008),
        ([(0.0004, 120, 0.9), (0.0008, 90, 0.88)], None),
        ([(0.0004, 90, 0.88)], 0.0002),
        ([(0.0004, 90, 0.9)], None),
        ([(0.0004, 90, 0.2)], 0.00005),
        ([(0.0004, 60, 0.2), (0.00005, 500, 0.9)], 0.00024972),
        ([(0.0004, 60, 0.2), (0.00005, 500, 0.9), (0.00024972, 95, 0.89)], None),
        ([(0.0004, 60, 0.2), (0.00005, 500, 0.9), (0.00024972, 105, 0.89)], 0.00026695),
        ([(0.0004, 60, 0.9), (0.0002, 500, 0.9)], None),
    ],
)
def test_ptq_looks_for_the_size_on_both_sides(tried, following):
    method = RateDistortionMethod(SimpleNamespace(few_judge=False), Target(0.9, max_drop=None, max_bytes=100))
    stages = [(each, Stage(name="x", bytes=size, density=0.5, bits=1, accuracy=right)) for each, size, right in tried]
    candidates = [Candidate("x", each, SimpleNamespace(stages=[stage])) for each, stage in stages]
    found = method._next_ptq_to_size(candidates)
    assert found == (following and pytest.approx(following, rel=1e-4))


@pytest.mark.slow
def test_a_file_answers_as_the_quantized_network(tmp_path):
    run = train("digits", out=tmp_path / "run", batch_norm=True, epochs=2, test=False, precision="fp32", **TINY)
    context = CompressionContext(run)
    trained = RateDistortionMethod(
        context, Target(context.accuracy_before, max_drop=1.0, max_bytes=None), rate_weight=0.03
    ).next_round([], [], 2)
    trained.trainer.fit()
    accuracy = trained.trainer.progress.history[-1]["validation_accuracy"]
    candidate = trained.candidate()
    network = context.network()
    network.load_state_dict(candidate.state["network"])
    answers, expected = (logits_of(each.eval(), context.validation)[0] for each in (candidate.file.build(), network))
    assert float((answers - expected).square().mean().sqrt() / expected.std()) < 0.02
    assert measure(network, context.validation).accuracy == pytest.approx(accuracy, abs=0.02)
    # Of a file like it the size is known, not guessed.
    weights, stage = candidate.file.weights, candidate.file.stages[-1]
    assert context.builder.estimated_bytes(weights, candidate.file) == stage.bytes
    assert context.builder.estimated_bytes(weights) != stage.bytes
    scales = [part.scales for part in candidate.file.weights.values() if isinstance(part, Quantized)]
    assert FINE in map(resolution_of, scales)
