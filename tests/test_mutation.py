"""The fuzzer of `fixtures/mutation.py` finds each kind of fault, and nothing where there is none."""

import os
import time

import pytest

from squeezekit.system.errors import SqueezekitError
from tests.fixtures.mutation import findings, mutated


def _reads(content):
    """Refuses most inputs, and fails in another way for each first letter."""
    if content == b"mute":
        raise SqueezekitError("two\nlines")
    if content == b"names":
        raise KeyError("a name")
    if content == b"takes":
        bytearray(2**31)
    if content == b"hides":
        try:
            bytearray(2**31)
        except MemoryError:
            raise SqueezekitError("refused") from None
    if content == b"waits":
        time.sleep(60)
    if content == b"crashes":
        os.abort()
    raise SqueezekitError("refused")


def test_the_same_seed_makes_the_same_inputs():
    assert list(mutated([b"abc", b"0123456789"], 200, seed=3)) == list(mutated([b"abc", b"0123456789"], 200, seed=3))
    assert len(set(mutated([b"abc", b"0123456789"], 200, seed=3))) > 100
    assert list(mutated([b"abc"], 5, seed=3)) != list(mutated([b"abc"], 5, seed=4))


def test_seeds_come_first_and_words_of_the_format_are_inserted():
    inputs = list(mutated([b"", b"abc"], 300, tokens=[b"<word>"]))
    assert inputs[:2] == [b"", b"abc"]
    assert any(b"<word>" in each for each in inputs)


@pytest.mark.slow
def test_every_kind_of_fault_is_found_and_the_rest_goes_on():
    seeds = [b"good", b"mute", b"names", b"takes", b"hides", b"waits", b"crashes", b"good too"]
    found = findings(_reads, seeds, count=0, seconds=1, megabytes=128)
    assert [line.partition(" of seed")[0] for line in found] == [f"input {number}" for number in range(1, 7)]
    expected = ["several lines", "KeyError", "MemoryError", "only when there was no more", "took too long", "ended the process"]
    assert [words for words, line in zip(expected, found, strict=True) if words not in line] == []
