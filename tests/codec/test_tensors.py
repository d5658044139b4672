"""Arrays come back bit for bit, in few bytes, and nothing that is not what was written is taken for it."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from squeezekit.codec.byte_model import MAX_CODED_BYTES, code_bytes
from squeezekit.codec.coder_tables import COARSE, FINE
from squeezekit.codec.encodings import (
    ENCODINGS,
    BytePlaneEncoding,
    CodebookEncoding,
    ContextModels,
    FineQuantizedEncoding,
    GridEncoding,
    Quantized,
    QuantizedEncoding,
    encoding_of,
)
from squeezekit.codec.log_scales import nearest_log_scale, resolution_of
from squeezekit.codec.range_coder import encoder, finish
from squeezekit.codec.tensors import VERSION, decode_stored_tensors, decode_tensors, encode_tensors
from squeezekit.codec.varint import ByteWriter
from squeezekit.system.errors import SqueezekitError


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def entropy_bytes(array):
    counts = np.unique(array, return_counts=True)[1]
    return -(counts * np.log2(counts / array.size)).sum() / 8


floats = st.sampled_from([np.float16, np.float32, np.float64])
arrays = floats.flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        elements=st.floats(width=8 * np.dtype(dtype).itemsize),
    )
)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), arrays, max_size=4))
def test_any_arrays_come_back_bit_for_bit(tensors):
    data = encode_tensors(tensors)
    decoded = decode_tensors(data)
    assert list(decoded) == list(tensors)
    assert all(same(decoded[name], tensors[name]) for name in tensors)
    assert encode_tensors(decoded) == data


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 17, 300]), floats)
def test_arrays_with_few_distinct_numbers_come_back(seed, distinct, dtype):
    random = np.random.default_rng(seed)
    entries = random.normal(size=distinct).astype(dtype)
    array = entries[random.integers(0, distinct, (13, 7, 3, 3))]
    assert same(decode_tensors(encode_tensors({"a": array}))["a"], array)


def test_special_numbers_keep_their_bits():
    specials = np.array([0x7FC00001, 0xFFC00000, 0x7F800000, 0xFF800000, 0x80000000, 0, 1, 0x80000001], np.uint32)
    array = np.tile(specials.view(np.float32), 200)
    assert isinstance(encoding_of(array), CodebookEncoding)
    assert same(decode_tensors(encode_tensors({"a": array}))["a"], array)


@pytest.mark.parametrize("array", [np.float32(3.5) * np.ones(()), np.zeros((0, 3), np.float32), np.zeros((4, 0, 2), np.float16)])
def test_scalars_and_empty_arrays(array):
    assert same(decode_tensors(encode_tensors({"a": array}))["a"], array)


def test_empty_arrays_of_impossible_sides_are_refused():
    """Found by the fuzzer: NumPy has no array of so many nothings, and scales of empty rows would fill the memory."""
    with pytest.raises(SqueezekitError, match="2\\*\\*40"):
        encode_tensors({"a": np.zeros((2**20, 0, 2**21), np.float32)})
    assert decode_tensors(encode_tensors({"a": np.zeros((2**20, 0, 2**20), np.float32)}))["a"].shape == (2**20, 0, 2**20)
    for shape, encoding in (
        ((2**40, 2**40, 0), BytePlaneEncoding),
        ((2**47, 0), BytePlaneEncoding),
        ((2**30, 0), QuantizedEncoding),
    ):
        with pytest.raises(SqueezekitError, match="damaged"):
            decode_tensors(listed(shape, encoding))
    begin = time.thread_time()
    assert decode_tensors(listed((2**40, 0), GridEncoding))["a"].shape == (2**40, 0)
    assert time.thread_time() - begin < 1


def listed(shape, encoding):
    """Tensors that say that they hold an array of that shape and encoding, as a hostile writer would."""
    header = ByteWriter()
    header.write_integer(1)
    header.write_string("a")
    for number in (1, len(shape), *shape, ENCODINGS.index(encoding)):
        header.write_integer(number)
    if encoding is GridEncoding:
        header.write_bytes(np.float32(1).tobytes())
    for _ in range({BytePlaneEncoding: 1, GridEncoding: 1, QuantizedEncoding: 3}[encoding]):
        header.write_integer(0)
    coder, models = encoder(MAX_CODED_BYTES * len(bytes(header))), ContextModels()
    code_bytes(coder, models.header, np.frombuffer(bytes(header), np.uint8).copy())
    stream, start = finish(coder), ByteWriter()
    for number in (VERSION, len(bytes(header)), len(stream)):
        start.write_integer(number)
    return bytes(start) + stream


def test_arrays_in_any_layout_are_taken():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    assert same(decode_tensors(encode_tensors({"a": array}))["a"], np.ascontiguousarray(array))


def weights(seed=0, shape=(64, 32, 3, 3)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 0.05


def quantized(step=0.8, seed=0, shape=(64, 32, 3, 3), resolution=COARSE):
    array = weights(seed, shape)
    scales = nearest_log_scale(np.full(shape[0], step * 0.05, np.float32), resolution)
    return Quantized(np.rint(array / scales.reshape(-1, 1, 1, 1)).astype(np.int64), scales)


@pytest.mark.parametrize("resolution", [COARSE, FINE])
def test_quantized_weights_come_back_as_such(resolution):
    part = quantized(resolution=resolution)
    assert resolution_of(part.scales) == resolution
    data = encode_tensors({"w": part})
    decoded = decode_stored_tensors(data)["w"]
    assert isinstance(decoded, Quantized)
    assert (decoded.integers == part.integers).all() and (decoded.scales == part.scales).all()
    assert same(decode_tensors(data)["w"], part.dequantize())
    assert encode_tensors({"w": decoded}) == data


def test_the_encoding_fits_the_numbers():
    assert isinstance(encoding_of(weights()), BytePlaneEncoding)
    assert isinstance(encoding_of((np.rint(weights() / 0.04) + 0.0) * np.float32(0.04)), GridEncoding)
    assert isinstance(
        encoding_of(np.sign(weights()) * np.float32(0.1) + np.float32(0.7371) * (weights() > 0.05)), CodebookEncoding
    )
    assert (
        type(encoding_of(quantized())) is QuantizedEncoding
        and type(encoding_of(quantized(resolution=FINE))) is FineQuantizedEncoding
    )


@pytest.mark.parametrize("step", [0.05, 0.3, 0.8, 1.2, 3.0])
def test_independent_weights_cost_their_entropy(step):
    # Nothing can be predicted here: what the model learns of its contexts must not cost more than one in a hundred.
    parts = {f"layer {i}": quantized(step, seed=i, shape=(96, 48, 3, 3)) for i in range(6)}
    floor = sum(entropy_bytes(part.integers) for part in parts.values())
    assert len(encode_tensors(parts)) < 1.01 * floor + 200


def test_rows_and_columns_of_unlike_size_are_predicted():
    random = np.random.default_rng(1)
    array = random.normal(size=(256, 128, 1, 1))
    array *= random.lognormal(size=(256, 1, 1, 1)) * random.lognormal(size=(1, 128, 1, 1))
    integers = np.rint(array / 2).astype(np.int64)
    part = Quantized(integers, nearest_log_scale(np.full(256, 0.1, np.float32)))
    assert len(encode_tensors({"w": part})) < 0.9 * entropy_bytes(integers)


def test_codebooks_cost_their_entropy_and_entries():
    random = np.random.default_rng(2)
    entries = np.sort(random.normal(size=64)).astype(np.float32)
    array = entries[random.binomial(63, 0.5, (64, 64, 3, 3))]
    assert len(encode_tensors({"w": array})) < 1.01 * (entropy_bytes(array) + entries.nbytes) + 60


def test_float32_weights_lose_their_predictable_bits():
    array = weights(shape=(256, 256, 3, 3))
    assert len(encode_tensors({"w": array})) < 0.86 * array.nbytes


def test_a_large_constant_array_is_padded_for_readers():
    array = np.zeros(4_000_000, np.float32)
    data = encode_tensors({"z": array})
    assert len(data) < 20_000
    assert same(decode_tensors(data)["z"], array)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.complex64, ">f4"])
def test_other_numbers_are_refused(dtype):
    with pytest.raises(SqueezekitError, match="give float16, float32 or float64"):
        encode_tensors({"a": np.zeros(3, dtype)})


@pytest.mark.parametrize("largest", [2**24, -(2**24), 2**62, np.iinfo(np.int64).max, np.iinfo(np.int64).min])
def test_integers_of_more_bits_than_a_file_has_are_refused(largest):
    integers = np.arange(-20, 16).reshape(4, 3, 3)
    integers[2, 1, 1] = largest
    with pytest.raises(SqueezekitError, match=r"quantised weights of 2\*\*24 steps or more cannot be coded"):
        encode_tensors({"weight": Quantized(integers, np.ones(4, np.float32))})


def test_scales_off_their_grid_are_refused():
    with pytest.raises(SqueezekitError, match="nearest_log_scale"):
        encode_tensors({"a": Quantized(np.zeros((2, 3), np.int64), np.array([0.1, 0.3], np.float32))})


SAMPLE = encode_tensors(
    {"w": quantized(shape=(8, 4, 3, 3)), "b": np.linspace(-1, 1, 8, dtype=np.float32), "m": weights(shape=(4, 5))}
)


def decodes_or_refuses(data):
    begin = time.thread_time()
    try:
        decode_stored_tensors(data)
    except SqueezekitError as error:
        assert "\n" not in str(error)
    assert time.thread_time() - begin < 1


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_cut_short(length):
    with pytest.raises(SqueezekitError):
        decode_stored_tensors(SAMPLE[:length])


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_flipped_bits_never_crash(position, flip):
    data = bytearray(SAMPLE)
    data[position] ^= flip
    decodes_or_refuses(bytes(data))


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=300))
def test_noise_never_crashes(data):
    decodes_or_refuses(data)
    decodes_or_refuses(b"\x01" + data)


def test_something_behind_the_end_is_refused():
    with pytest.raises(SqueezekitError, match="something follows"):
        decode_stored_tensors(SAMPLE + b"\1")


def test_a_few_multiples_of_a_step_are_a_grid():
    # Biases: few, hardly two of them alike, so that neither bytes nor a codebook predict anything.
    random = np.random.default_rng(0)
    bias = (np.rint(random.normal(scale=16, size=64)) + 0).astype(np.float32) * np.float32(0.0371)
    data = encode_tensors({"bias": bias})
    assert len(data) < 64 + 20
    assert decode_tensors(data)["bias"].tobytes() == bias.tobytes()
