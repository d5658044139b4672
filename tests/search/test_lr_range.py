"""A rising rate finds one to train with."""

import json
import math

import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.search.lr_range import lr_range
from squeezekit.system.errors import RunFailed
from tests.fixtures.tiny import TINY, flags


@pytest.mark.slow
def test_the_rate_rises_and_the_suggestion_lies_below_the_lowest_loss(tmp_path, capsys):
    assert main(["lr-range", "--data", "digits", "--out", str(tmp_path / "rate.svg"), "--json", *flags(TINY)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rates"][0] == pytest.approx(1e-5) and found["rates"] == sorted(found["rates"])
    assert len(found["rates"]) == len(found["losses"]) <= 110
    assert found["losses"][0] == pytest.approx(math.log(10), abs=0.2) and min(found["losses"]) < 0.99 * found["losses"][0]
    assert found["suggested"] == pytest.approx(found["lowest"] / 10, rel=0.06)
    assert (tmp_path / "rate.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_rates_that_teach_nothing_are_said():
    with pytest.raises(RunFailed, match="falls at no rate"):
        lr_range("digits", from_rate=1e-9, to_rate=1e-8, **TINY)
    with pytest.raises(SqueezekitError, match="the lower one first"):
        lr_range("digits", from_rate=1, to_rate=0.1)
