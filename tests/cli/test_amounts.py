"""Amounts and lists of numbers as people write them."""

import pytest

from squeezekit import SqueezekitError
from squeezekit.cli.amounts import amount, numbers


@pytest.mark.parametrize(
    ("text", "number"), [("60000", 60_000), ("60k", 60_000), ("1.5M", 1_500_000), (" 2G ", 2 * 10**9), ("100kB", 100_000)]
)
def test_thousands_and_millions(text, number):
    assert amount(text) == number


@pytest.mark.parametrize("text", ["", "k", "-5", "0", "1.5", "0.0001k", "1e6", "60 k", "60kk", "nan", "9" * 400])
def test_anything_else_is_one_sentence(text):
    with pytest.raises(SqueezekitError, match="is no amount"):
        amount(text)


def test_numbers_with_commas():
    assert numbers("0.5") == (0.5,) and numbers("0.485, 0.456,1e-2") == (0.485, 0.456, 0.01)
    for text in ("", "a", "1,,2", "nan", "1,inf"):
        with pytest.raises(SqueezekitError, match=f"'{text}' is no list of numbers"):
            numbers(text)
