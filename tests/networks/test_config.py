"""What a configuration may hold: numbers in their ranges, and a network that some machine can hold."""

import json
import math

import pytest

from squeezekit import SqueezekitError
from squeezekit.networks import list_networks, network_config
from squeezekit.networks.config import MAX_MACS, MAX_PARAMETERS
from squeezekit.networks.layer_table import layer_table

NARROW = {"base_e": 4, "incr_e": 4, "stem_width": 4, "depth": 2, "pool_before": (1,)}


@pytest.mark.parametrize("name", list_networks())
def test_every_network_can_be_computed_as_it_is_published(name):
    network_config(name).check_work()


@pytest.mark.parametrize(
    ("name", "side"), [("squeezenet1_0", 1024), ("squeezenet1_1", 1024), ("resnet20", 1024), ("wide", 224), ("small", 224)]
)
def test_images_may_be_large(name, side):
    network_config(name, image_size=side, classes=1000).check_work()


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("squeezenet-cifar", {}),
        ("squeezenet1_0", {"image_size": 64}),
        ("wide", {"mirrored": True}),
        ("squeezenet-cifar", {"share_3x3": 0.25, "channels": 1}),
        ("resnet20", {}),
        ("mobilenetv2_050", {}),
        ("shufflenetv2_050", {}),
        ("xvel-tiniest", {}),
        ("alexnet", {"image_size": 99}),
        ("alexnet-cifar", {"image_size": 48}),
    ],
)
def test_work_is_about_that_of_the_layers(name, fields):
    config = network_config(name, **fields)
    work, table = config.work(), layer_table(config)
    # Biases and bypasses are left out, and a head after the average is counted as it is computed.
    assert 0.97 * table.parameters < work.parameters < 1.05 * table.parameters
    assert 0.9 * table.macs < work.macs < 1.05 * table.macs
    largest = max(math.prod(layer.input) + math.prod(layer.output) for layer in table.layers)
    assert 0.7 * largest < work.values < 2 * largest


@pytest.mark.parametrize(
    ("name", "fields", "what"),
    [
        ("squeezenet-cifar", {**NARROW, "stem_width": 4096, "image_size": 1024}, "MACs"),
        ("squeezenet-cifar", {**NARROW, "stem_width": 4096, "image_size": 256}, "values between"),
        (
            "squeezenet-cifar",
            {"depth": 64, "stem_width": 64, "base_e": 64, "incr_e": 0, "squeeze_ratio": 1, "image_size": 1024},
            "MACs",
        ),
        ("squeezenet-cifar", {"start": 1000, "freq": 1, "incr_e": 4096}, "parameters"),
        ("alexnet", {"image_size": 1024}, "parameters"),
        ("alexnet-cifar", {"image_size": 1024}, "parameters"),
        ("mobilenetv2_050", {"image_size": 1024, "classes": 65535}, "parameters"),
        ("wide", {"image_size": 512}, "MACs"),
    ],
)
def test_a_network_that_no_machine_holds_is_refused_before_it_is_built(name, fields, what):
    config = network_config(name, **fields)
    with pytest.raises(SqueezekitError, match=rf"network '{name}' has [\d,]+ {what}.* make it or its images smaller"):
        config.check_work()
    with pytest.raises(SqueezekitError, match=what):
        layer_table(config)
    work = config.work()
    assert (what == "parameters") == (work.parameters > MAX_PARAMETERS)
    assert what != "MACs" or work.macs > MAX_MACS


@pytest.mark.parametrize(
    "fields",
    [
        {"start": 10**12},
        {"freq": 10**400},
        {"classes": 10**9},
        {"channels": 0},
        {"mean": [math.nan]},
        {"mean": [1e300]},
        {"mean": [-math.inf]},
        {"std": [0.0]},
        {"std": [1e-300]},
        {"std": [math.nan]},
        {"std": [math.inf]},
        {"dropout": math.nan},
        {"squeeze_ratio": math.nan},
        {"x" * 10_000 + "\n": 1},
        {"name": "\x1b[31m" + "x" * 10_000},
    ],
)
def test_numbers_outside_of_their_range_are_refused_in_one_sentence(fields):
    with pytest.raises(SqueezekitError) as found:
        network_config(**{"name": "squeezenet-cifar", **fields})
    assert len(str(found.value)) < 700 and str(found.value).isprintable()


def test_a_number_of_any_field_can_be_written_as_json():
    text = network_config("nano", mean=(1e-3,), std=(1000.0,)).model_dump_json()
    assert json.loads(text, parse_constant=pytest.fail)["std"] == [1000.0]


def test_a_field_of_other_versions_is_refused_by_its_name():
    with pytest.raises(SqueezekitError, match=r"'squeezenet-cifar': gated: is no field that this version knows$"):
        network_config("squeezenet-cifar", gated=True)
