"""Deltas lead to the new file byte for byte, are small, and never anything but an error when damaged."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit.codec.coder_tables import FINE
from squeezekit.codec.delta_model import code_delta, new_delta_model
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import from_log_steps, to_log_steps
from squeezekit.codec.range_coder import decoder, encoder, exhausted, finish
from squeezekit.modelfile.delta import apply_delta, delta_between
from squeezekit.modelfile.sqz import from_bytes
from squeezekit.pretrained.files import model_path
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.changed_files import changed, with_weights

BUDGET = 1 << 24


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 5)] * 3), st.sampled_from([1, 3, 300, 2**23]), st.floats(0, 1))
def test_changes_come_back(seed, shape, largest, share):
    random = np.random.default_rng(seed)
    old = random.integers(-largest, largest, shape)
    new = np.where(random.random(shape) < share, random.integers(-largest, largest, shape), old)
    coder = encoder(16 * old.size * 32)
    code_delta(coder, new_delta_model(), old, new.copy())
    data, found = finish(coder), np.zeros_like(old)
    reader = decoder(data, BUDGET)
    code_delta(reader, new_delta_model(), old, found)
    assert (found == new).all() and not exhausted(reader)


@pytest.fixture(scope="module")
def old():
    return model_path("digits-nano").read_bytes()


def test_the_same_file_costs_nothing(old):
    delta = delta_between(old, old)
    assert apply_delta(old, delta) == old and len(delta) < 64


@pytest.mark.parametrize(("share", "most"), [(0.01, 0.12), (0.05, 0.3), (0.2, 0.7)])
def test_few_changes_are_few_bytes(old, share, most):
    new = changed(old, share)
    delta = delta_between(old, new)
    assert apply_delta(old, delta) == new and len(delta) < most * len(new)


def test_the_last_layer_alone(old):
    sqz = from_bytes(old)
    name, part = next((name, part) for name, part in reversed(sqz.weights.items()) if isinstance(part, Quantized))
    assert name == "classifier.1.weight"
    moved = np.random.default_rng(0).integers(-1, 2, part.shape)
    new = with_weights(old, {**sqz.weights, name: Quantized(part.integers + moved, part.scales)})
    delta = delta_between(old, new)
    assert apply_delta(old, delta) == new and len(delta) < 0.04 * len(new)


@pytest.mark.slow
def test_scales_biases_and_sections_may_change_too(old):
    sqz, random = from_bytes(old), np.random.default_rng(0)
    weights = dict(sqz.weights)
    for i, (name, part) in enumerate(weights.items()):
        if isinstance(part, Quantized):
            weights[name] = Quantized(
                part.integers, from_log_steps(to_log_steps(part.scales) + random.integers(-2, 3, len(part.scales)))
            )
        elif i % 3:
            weights[name] = part + np.float32(0.25) * random.integers(-1, 2, part.shape).astype(np.float32)
    new = with_weights(old, weights)
    other = replace(
        from_bytes(new), stages=(), probability_calibration=None, other_sections={"note": b"\0\1\2", "more": b"x" * 70}
    ).to_bytes()
    for one, another in ((old, new), (old, other), (other, new), (new, old)):
        delta = delta_between(one, another)
        assert apply_delta(one, delta) == another and len(delta) < len(another)


def finer(old):
    sqz, random = from_bytes(old), np.random.default_rng(0)
    weights = dict(sqz.weights)
    for name, part in sqz.weights.items():
        if isinstance(part, Quantized):
            exponents = to_log_steps(part.scales, FINE) + random.integers(-2, 3, len(part.scales))
            weights[name] = Quantized(part.integers, from_log_steps(exponents, FINE))
    return with_weights(old, weights)


def test_scales_may_become_finer_or_coarser(old):
    fine = finer(old)
    for one, another in ((old, fine), (fine, old)):
        delta = delta_between(one, another)
        assert apply_delta(one, delta) == another and len(delta) < 0.3 * len(another)


def test_networks_of_other_shapes_have_none(old):
    assert delta_between(old, model_path("cifar10-nano").read_bytes()) is None


def test_what_is_no_delta_is_said(old):
    new = changed(old, 0.02)
    delta = delta_between(old, new)
    for bad, said in (
        (b"", "not a delta"),
        (b"SQZ\x1a" + delta[4:], "not a delta"),
        (delta[:4] + b"\2" + delta[5:], "version 2"),
        (delta[:20], "damaged|cut short"),
    ):
        with pytest.raises(SqueezekitError, match=said):
            apply_delta(old, bad)
    with pytest.raises(SqueezekitError, match="to another file"):
        apply_delta(new, delta)
    with pytest.raises(SqueezekitError, match="not a .sqz file"):
        delta_between(old, b"nothing")


@pytest.fixture(scope="module", params=["changed", "finer"])
def a_delta(old, request):
    return delta_between(old, changed(old, 0.01) if request.param == "changed" else finer(old))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_damaged_delta_is_an_error_or_another_file(old, a_delta, data):
    """Never a crash; that it leads to another file is seen by the digest in the metadata."""
    delta = bytearray(a_delta)
    for _ in range(data.draw(st.integers(1, 3))):
        delta[data.draw(st.integers(13, len(delta) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(apply_delta(old, bytes(delta[: data.draw(st.integers(13, len(delta)))])), bytes)
    except SqueezekitError:
        pass
