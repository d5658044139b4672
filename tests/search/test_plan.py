"""What is decided, and said, before the first trial."""

import pytest

from squeezekit import SqueezekitError
from squeezekit.integer.outline import ram_of
from squeezekit.search.plan import SizeLimits, planned, sizes_of
from tests.fixtures.studies import TRIAL, plan_of, space_in


def test_a_search_begins_with_what_it_found(tmp_path, capsys):
    plan_of(space_in(tmp_path))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("digits: 10 classes; images: ")]
    assert len(said) == 1 and said[0].endswith(" for validation, 269 for the test")


def test_ram_is_that_of_the_exported_c(tmp_path):
    plan = plan_of(space_in(tmp_path), fields={**TRIAL, "batch_norm": True})
    config = plan.config({})
    assert sizes_of(config)["ram"] == ram_of(config.network.folded()).least
    assert SizeLimits(ram=100).broken(sizes_of(config)).endswith(" ram are more than the 100 allowed")


@pytest.mark.parametrize(("options", "flag"), [({"limits": {"ram": 10_000}}, "--max-ram"), ({"size": "ram"}, "--size ram")])
def test_a_space_whose_ram_is_not_known_is_refused_where_it_matters(options, flag, tmp_path):
    space = space_in(tmp_path, "[recipe]\nlearning_rate = [0.01, 0.1]\n")
    given = {
        "data": "digits",
        "network": "mobilenetv2_050",
        "recipe": None,
        "config": None,
        "fields": {"limit": 200, "epochs": 1},
    }
    with pytest.raises(
        SqueezekitError, match=rf"^{flag}: the RAM of network 'mobilenetv2_050' is not known, layer .*; leave it out$"
    ):
        planned(space, **given, **options)
    assert "ram" not in sizes_of(planned(space, **given).config({}))
