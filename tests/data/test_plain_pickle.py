"""Pickles of plain things: what is in them comes out, and nothing else happens."""

import collections
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from squeezekit.data import plain_pickle
from squeezekit.data.plain_pickle import InertArray, load


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_things_come_out_as_they_went_in(protocol):
    text = "a" * 300
    things = {
        "numbers": [0, 255, 65_536, -1, 2**31, -(2**70), 1.5, True, False, None],
        text: ("é", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [text, text], {}, {"one": 1}),
        "long": "é" * 70_000,
    }
    assert load(pickle.dumps(things, protocol)) == things


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("content", [b"short", bytes(range(256)) * 300])
def test_bytes_come_out_as_they_went_in(protocol, content):
    assert load(pickle.dumps([content, content], protocol)) == [content, content]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_bytes_come_out_in_their_shape(protocol, order):
    array = np.asarray(np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8), order=order)
    read = load(pickle.dumps(array, protocol))
    assert isinstance(read, InertArray) and (read.pixels() == array).all()
    with pytest.raises(ValueError, match="not bytes"):
        load(pickle.dumps(array.astype(np.int16), protocol)).pixels()


def test_text_of_python_2_is_bytes():
    assert load(b"\x80\x02U\x03a\xffb.") == b"a\xffb"
    assert load(b"\x80\x02T\x03\0\0\0a\xffb.") == b"a\xffb"


@pytest.mark.parametrize("value", [len, collections.OrderedDict(), pickle.Unpickler, {1, 2}, bytearray(5), 1j])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_whatever_is_not_plain_is_refused(value, protocol):
    with pytest.raises(ValueError, match="its pickle"):
        load(pickle.dumps(value, protocol))


HOSTILE = {
    "a number in the memo, for which a table of 4 GB is made": b"\x80\x02Nr" + struct.pack("<I", 0x0FFFFFFF) + b".",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "a byte array that is not there": b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b"x.",
    "a frame that is not there": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"x.",
    "a list for each byte": b"\x80\x02" + b"]" * 200_000 + b".",
    "tuples within tuples": b"\x80\x02N" + b"\x85" * 200_000 + b".",
    "text made bytes over and over": (
        b"\x80\x02c_codecs\nencode\nq\0X" + struct.pack("<I", 2_000_000) + b"a" * 2_000_000 + b"q\1X\6\0\0\0latin1q\2\x86q\3"
        b"h\0h\3R" * 50 + b"."
    ),
    "a number of a million digits": b"\x80\x02L" + b"9" * 1_000_000 + b"L\n.",
    "an end without a value": b"\x80\x02.",
    "a mark that is not there": b"\x80\x02]e.",
    "more than there is": b"\x80\x02K\1\x87.",
    "a list that is changed as a dictionary": b"\x80\x02]K\1K\2s.",
    "keys that could all be in one place": b"\x80\x02}(K\1K\2u.",
    "a key that is a list": b"\x80\x02}(]K\2u.",
    "nothing": b"",
    "no end": b"\x80\x02K\1",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_take_little_memory(content, monkeypatch):
    monkeypatch.setattr(plain_pickle, "MOST_STEPS", 20_000)
    load(pickle.dumps([b"once, for what is imported late"], 2))
    tracemalloc.start()
    try:
        load(content)
    except Exception as error:
        assert not isinstance(error, MemoryError)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * len(content) + 2**21


def test_too_many_steps_are_refused(monkeypatch):
    monkeypatch.setattr(plain_pickle, "MOST_STEPS", 100)
    assert load(b"\x80\x02" + b"]" * 50 + b".") == []
    with pytest.raises(ValueError, match="more steps"):
        load(b"\x80\x02" + b"]" * 200 + b".")


def test_the_limit_leaves_room_for_the_official_batches():
    # A label, and the name of a file with its place in the memo, of each picture.
    assert plain_pickle.MOST_STEPS > 5 * 3 * 10_000
