"""CSV that a spreadsheet may open."""

import csv
import io

import pytest

from squeezekit.system.spreadsheet import csv_text


@pytest.mark.parametrize("name", ["=cmd|calc!A1", "+1+1", "-2+3", "@SUM(1)", "\tx", "\rx"])
def test_text_that_would_be_a_formula_begins_with_an_apostrophe(name):
    (row,) = csv.reader(io.StringIO(csv_text([[name, "a"]])))
    assert row[0].startswith("'") and row[1] == "a"


def test_numbers_stay_numbers_and_other_text_stays_as_it_is():
    assert csv_text([["class", "loss"], ['a "b", c', -0.5], ["x=1", None]]) == 'class,loss\n"a ""b"", c",-0.5\nx=1,\n'


def test_control_characters_and_what_no_file_can_hold_are_escapes():
    assert csv_text([["a\nb\x1b[31m\ud800", "猫"]]) == "a\\x0ab\\x1b[31m\\ud800,猫\n"
