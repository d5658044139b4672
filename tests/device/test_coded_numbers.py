"""Texts and tensors come out of C as NumPy has put them in."""

import numpy as np
import pytest

from squeezekit import SqueezekitError
from squeezekit.codec.coder_tables import COARSE, FINE
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import from_log_steps
from squeezekit.codec.tensors import encode_tensors
from squeezekit.device.coded_numbers import decode_tensors, decode_text
from squeezekit.device.library import library_path
from squeezekit.modelfile.coded_text import encode_text

pytestmark = pytest.mark.skipif(not library_path().exists(), reason="a device has Linux on x86-64 or AArch64")


def tensors():
    """One of each encoding, and of several numbers of sides."""
    random = np.random.default_rng(0)
    normal = random.standard_normal((6, 5, 3, 3)).astype(np.float32)
    integers = np.rint(random.laplace(0, 3, (7, 4, 3, 3))).astype(np.int64)
    return {
        "plain": normal,
        "none": np.zeros((0, 3), np.float32),
        "edges": np.array([0.0, -0.0, 1e-45, 3.4e38, -3.4e38], np.float32),
        "codebook": random.choice(normal.ravel()[:5], (8, 9)),
        "grid": (integers * np.float32(0.01)).astype(np.float32),
        "coarse": Quantized(integers, from_log_steps(random.integers(500, 900, 7), COARSE)),
        "fine": Quantized(integers * 90, from_log_steps(random.integers(1000, 4000, 7), FINE)),
    }


def test_tensors():
    wanted = tensors()
    found = decode_tensors(encode_tensors(wanted))
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        array = tensor.dequantize() if isinstance(tensor, Quantized) else tensor
        assert found[name].shape == tensor.shape and found[name].floats.tobytes() == array.tobytes(), name
        if isinstance(tensor, Quantized):
            assert found[name].scales.tobytes() == tensor.scales.tobytes()
            assert found[name].largest.tolist() == np.abs(tensor.integers).reshape(7, -1).max(1).tolist()


@pytest.mark.parametrize("text", [b"", b"x", '{"classes":["Käse","犬"]}'.encode() * 20])
def test_texts(text):
    assert decode_text(encode_text(text)) == text


def test_a_text_that_is_cut_short_is_none():
    with pytest.raises(SqueezekitError, match="cut short"):
        decode_text(encode_text(b"some text that is long")[:2])


def test_damage_is_a_sentence():
    data = encode_tensors(tensors())
    for number in range(1, len(data), 7):
        for changed in (data[:number], data[:number] + bytes([data[number] ^ 0x55]) + data[number + 1 :]):
            try:
                decode_tensors(changed)
            except SqueezekitError as error:
                assert "get the file again" in str(error) or "no finite numbers" in str(error)


@pytest.mark.parametrize("numbers", [np.array([np.nan], np.float32), np.array([1.0, np.inf], np.float32)])
def test_numbers_that_are_none_are_no_weights(numbers):
    with pytest.raises(SqueezekitError, match="no finite numbers, in 'bias'"):
        decode_tensors(encode_tensors({"bias": numbers}))
    with pytest.raises(SqueezekitError, match="not float32"):
        decode_tensors(encode_tensors({"bias": np.array([1.0])}))
