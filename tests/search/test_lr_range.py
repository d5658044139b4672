"""A rising rate finds one to train with; curves get their names by the stated rule."""

import json
import math

import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.search.curves import curve_name
from squeezekit.search.lr_range import lr_range
from squeezekit.system.errors import RunFailed

TINY = {"limit": 400, "base_e": 16, "incr_e": 16, "stem_width": 16, "depth": 2}


def test_the_rate_rises_and_the_suggestion_lies_below_the_lowest_loss(tmp_path, capsys):
    flags = [part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["lr-range", "--data", "digits", "--out", str(tmp_path / "rate.svg"), "--json", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rates"][0] == pytest.approx(1e-5) and found["rates"] == sorted(found["rates"])
    assert len(found["rates"]) == len(found["losses"]) <= 110
    assert found["losses"][0] == pytest.approx(math.log(10), abs=0.2) and min(found["losses"]) < 0.99 * found["losses"][0]
    assert found["suggested"] == pytest.approx(found["lowest"] / 10, rel=0.06)
    assert (tmp_path / "rate.svg").read_text().startswith("<?xml")


def test_rates_that_teach_nothing_are_said():
    with pytest.raises(RunFailed, match="falls at no rate"):
        lr_range("digits", from_rate=1e-9, to_rate=1e-8, **TINY)
    with pytest.raises(SqueezekitError, match="the lower one first"):
        lr_range("digits", from_rate=1, to_rate=0.1)


@pytest.mark.parametrize(
    ("losses", "name"),
    [
        ([2.3, math.nan], "diverging"),
        ([2.3, 5.0], "diverging"),
        ([], "diverging"),
        ([2.31, 2.30, 2.302], "not learning"),
        ([2.0, 1.2, 1.8, 1.0, 1.6, 0.9], "oscillating"),
        ([2.2, 2.1, 2.0, 1.9], "slow"),
        ([2.0, 1.5, 1.1, 0.9], "stable"),
        ([1.6, 1.2, 1.22, 1.0, 0.9], "stable"),
    ],
)
def test_curves_have_names(losses, name):
    assert curve_name(losses, 10, best=0.8) == name
