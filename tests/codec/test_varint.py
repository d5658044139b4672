"""Integers and strings come back, and nothing else is taken for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squeezekit.codec.varint import ByteReader, ByteWriter
from squeezekit.system.errors import SqueezekitError


@given(st.lists(st.integers(0, 2**48 - 1)), st.text(st.characters(codec="utf-8")))
def test_what_is_written_is_read(integers, text):
    writer = ByteWriter()
    for integer in integers:
        writer.write_integer(integer)
    writer.write_string(text)
    reader = ByteReader(bytes(writer))
    assert [reader.read_integer() for _ in integers] == integers and reader.read_string() == text and reader.at_end


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 6 + b"\x7f", b"\x80" * 6 + b"\x40", b"\xff" * 7 + b"\x01"])
def test_integers_that_no_writer_writes_are_refused(data):
    with pytest.raises(SqueezekitError):
        ByteReader(data).read_integer()


def test_strings_that_no_writer_writes_are_refused():
    for data in (b"\x02a", b"\x01\xff"):
        with pytest.raises(SqueezekitError):
            ByteReader(data).read_string()
