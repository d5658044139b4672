"""Spaces say what varies, and are checked before anything trains."""

import optuna
import pytest

from squeezekit import SqueezekitError
from squeezekit.networks import network_config
from squeezekit.search.space import BUILT_IN, Choice, Range, named_space, space_of


def space(**tables):
    return space_of(tables, "squeezenet-cifar", "space")


def test_a_grid_is_every_combination_in_the_order_of_the_file():
    found = space(
        network={"squeeze_ratio": [0.125, 0.5]}, recipe={"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True, "steps": 3}}
    )
    assert found.grid() == [
        {"squeeze_ratio": ratio, "learning_rate": rate} for ratio in (0.125, 0.5) for rate in (0.0001, 0.001, 0.01)
    ]


def test_a_range_of_whole_numbers_stays_whole():
    found = space(network={"base_e": {"low": 16, "high": 64, "steps": 4}})
    assert found.dimensions["base_e"].values == (16, 32, 48, 64)
    assert all(isinstance(value, int) for value in found.dimensions["base_e"].values)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({}, "nothing varies"),
        ({"run": {"seed": [1]}}, r"unknown table \[run\]"),
        ({"network": [1]}, "must be a table"),
        ({"network": {"sqeeze_ratio": [0.5]}}, "did you mean 'squeeze_ratio'"),
        ({"network": {"learning_rate": [0.5]}}, r"belongs into \[recipe\]"),
        ({"recipe": {"seed": [1, 2]}}, "is of the run"),
        ({"network": {"squeeze_ratio": []}}, "empty"),
        ({"network": {"squeeze_ratio": [0.5, 1.5]}}, r"squeeze_ratio: .*less than or equal to 1, not 1.5"),
        ({"network": {"squeeze_ratio": ["a"]}}, "squeeze_ratio"),
        ({"network": {"squeeze_ratio": 0.5}}, "give a list of values"),
        ({"network": {"squeeze_ratio": {"low": 0.1}}}, "low and high"),
        ({"network": {"squeeze_ratio": {"low": 0.1, "high": 0.5, "step": 3}}}, "low and high"),
        ({"network": {"squeeze_ratio": {"low": 0.5, "high": 0.1}}}, "low below high"),
        ({"network": {"dropout": {"low": 0, "high": 0.1, "log": True}}}, "above 0"),
        ({"network": {"dropout": {"low": 0, "high": 0.1, "steps": 1}}}, "steps"),
        ({"network": {"dropout": {"low": 0, "high": 2}}}, "dropout: .*not 2"),
    ],
)
def test_what_cannot_be_is_said_before_the_first_trial(tables, said):
    with pytest.raises(SqueezekitError, match=said):
        space(**tables)


def test_a_grid_needs_steps_and_an_end():
    with pytest.raises(SqueezekitError, match="a grid needs a list"):
        space(network={"dropout": {"low": 0, "high": 0.5}}).grid()
    many = {name: {"low": 0.0001, "high": 0.001, "steps": 100} for name in ("learning_rate", "weight_decay", "plateau_min_delta")}
    with pytest.raises(SqueezekitError, match="1,000,000 points"):
        space(recipe=many).grid()


def test_a_sampler_draws_what_the_space_allows_lists_too():
    found = space(
        network={"pool_before": [[1, 2], [1, 4]], "batch_norm": [True, False], "base_e": {"low": 8, "high": 16}},
        recipe={"optimizer": ["sgd", "adam"], "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [found.suggested(study.ask()) for _ in range(30)]
    assert {tuple(fields["pool_before"]) for fields in drawn} == {(1, 2), (1, 4)}
    assert {fields["optimizer"] for fields in drawn} == {"sgd", "adam"}
    assert {type(fields["base_e"]) for fields in drawn} == {int} and min(fields["base_e"] for fields in drawn) == 8
    assert all(1e-4 <= fields["learning_rate"] <= 1e-1 for fields in drawn)
    assert all(found.decoded(found.encoded(fields)) == fields for fields in drawn)


def test_built_in_spaces_hold_what_the_report_asks():
    assert len(named_space("classic", "squeezenet-cifar").grid()) == 108
    rates = [point["learning_rate"] for point in named_space("learning-rate", "squeezenet-cifar").grid()]
    assert {0.0001, 0.001, 0.01} <= set(rates)
    assert set(BUILT_IN) == {"learning-rate", "classic", "regularization"}


@pytest.mark.slow
def test_fire_sizes_have_the_same_number_of_parameters():
    points = named_space("fire-size", "squeezenet-cifar").grid()
    counts = [sum(p.numel() for p in network_config("squeezenet-cifar", **point).build().parameters()) for point in points]
    assert len(points) == 7 and all(abs(count / 716_602 - 1) < 0.02 for count in counts)
    deeper = named_space("fire-size", "squeezenet-cifar", {"depth": 4, "squeeze_ratio": 0.5, "epochs": 3}).grid()
    sizes = [
        sum(p.numel() for p in network_config("squeezenet-cifar", depth=4, squeeze_ratio=0.5, **point).build().parameters())
        for point in deeper
    ]
    assert max(sizes) < 1.04 * min(sizes)
    with pytest.raises(SqueezekitError, match="no Fire modules"):
        named_space("fire-size", "resnet8")


def test_a_file_may_list_points(tmp_path):
    file = tmp_path / "points.toml"
    two = "[[points]]\nbase_e = 64\npool_before = [1, 2]\n[[points]]\nbase_e = 96\nlearning_rate = 0.1\n"
    file.write_text(two, encoding="utf-8")
    points = named_space(str(file), "squeezenet-cifar").grid()
    assert points == [{"base_e": 64, "pool_before": [1, 2]}, {"base_e": 96, "learning_rate": 0.1}]
    for text, problem in (
        ("[[points]]\nbase_f = 64\n", "base_e"),
        ("[[points]]\nbase_e = 1\n", "greater than"),
        ("points = []\n", "once for each point"),
        ("[[points]]\nbase_e = 64\n[network]\nfreq = [1]\n", "nothing else"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(SqueezekitError, match=problem):
            named_space(str(file), "squeezenet-cifar")


def test_a_file_is_a_space(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[network]\nsqueeze_ratio = [0.25, 0.5]\n[recipe]\nlearning_rate = {low = 0.001, high = 0.1, log = true}\n")
    found = named_space(str(path), "squeezenet-cifar")
    assert found.dimensions == {"squeeze_ratio": Choice((0.25, 0.5)), "learning_rate": Range(0.001, 0.1, log=True)}
    with pytest.raises(SqueezekitError, match="neither a file nor one of"):
        named_space("clasic", "squeezenet-cifar")
    path.write_text("[network]\nsqueze_ratio = [1]\n")
    with pytest.raises(SqueezekitError, match=r"mine.toml: .*did you mean 'squeeze_ratio'"):
        named_space(str(path), "squeezenet-cifar")
