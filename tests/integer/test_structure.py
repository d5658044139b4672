"""The structure of a network is found in its fields and shapes; what does not fit together is refused."""

import numpy as np
import pytest

from squeezekit import SqueezekitError
from squeezekit.integer.parts import FireLayers, PoolingLayer
from squeezekit.integer.plan_builder import build_plan
from squeezekit.integer.quantizer import _NumpyArrays
from squeezekit.integer.structure import structure_of
from squeezekit.networks import network_config

# Fields that say of which family a network is, and of how many blocks.
SAID = {"squeezenet-cifar": ("base_e",), "staged": ("widths", "depths", "halved")}


def described(name, **fields):
    config = network_config(name, **{"batch_norm": False, **fields})
    shapes = {name: tuple(parameter.shape) for name, parameter in config.build().named_parameters()}
    return config.model_dump(mode="json"), shapes


@pytest.mark.parametrize("name", ["squeezenet-cifar", "staged"])
def test_a_field_that_is_left_out_has_its_default(name):
    fields, shapes = described(name)
    few = {field: fields[field] for field in SAID[name]}
    assert structure_of(few, shapes) == structure_of(fields, shapes)


def test_poolings_stand_where_the_configuration_has_them():
    fields, shapes = described("squeezenet-cifar", pool_before=(1, 3, 4), depth=4, pool_size=3)
    kinds = ["pool" if isinstance(part, PoolingLayer) else "fire" for part in structure_of(fields, shapes).parts[1:]]
    assert kinds == ["pool", "fire", "fire", "pool", "fire", "pool", "fire"]
    assert all(part.size == 3 for part in structure_of(fields, shapes).parts if isinstance(part, PoolingLayer))
    fields, shapes = described("squeezenet-cifar", bypass="simple")
    assert any(part.identity for part in structure_of(fields, shapes).parts if isinstance(part, FireLayers))


def test_parameters_of_another_network_are_refused():
    fields, shapes = described("staged")
    for changed in (
        {**shapes, "more.weight": (3, 3)},
        {name: shape for name, shape in shapes.items() if name != "stem.bias"},
        {**shapes, "stem.weight": (16, 3, 9, 9)},
        {**shapes, "classifier.weight": (11, 64), "classifier.bias": (11,)},
    ):
        with pytest.raises(SqueezekitError, match="its weights are not those of its network"):
            structure_of(fields, changed)
    with pytest.raises(SqueezekitError, match="a network 'resnet20' has no integer form"):
        structure_of({"name": "resnet20"}, shapes)


def test_a_resnet8_has_three_blocks_of_its_filters():
    fields, shapes = described("resnet8")
    assert len(structure_of(fields, shapes).parts) == 9
    more = {
        f"blocks.3.{name}.{kind}": shape
        for name in ("conv1", "conv2")
        for kind, shape in (("weight", (64, 64, 3, 3)), ("bias", (64,)))
    }
    for changed in (
        {**shapes, **more},
        {**shapes, "blocks.0.conv1.weight": (16, 16, 1, 1)},
        {**shapes, "stem.weight": (16, 3, 5, 5)},
        {**shapes, "blocks.1.shortcut.weight": (32, 16, 3, 3)},
        {name: shape for name, shape in shapes.items() if not name.startswith("blocks.2")},
    ):
        with pytest.raises(SqueezekitError, match="its weights are not those of its network"):
            structure_of(fields, changed)


def test_layers_that_do_not_fit_each_other_make_no_plan():
    fields, shapes = described("squeezenet-cifar", depth=2, pool_before=())
    for name, shape in (
        ("features.2.expand3x3.weight", (64, 16, 2, 2)),
        ("features.2.expand1x1.weight", (64, 15, 1, 1)),
        ("features.3.squeeze.weight", (32, 100, 1, 1)),
    ):
        # As many filters as there are biases.
        changed = {**shapes, name: (shapes[name][0], *shape[1:])}
        parameters = {each: np.ones(size, np.float32) for each, size in changed.items()}
        structure = structure_of(fields, changed)
        spans = {each.removesuffix(".weight"): (-1.0, 1.0) for each in changed}
        with pytest.raises(SqueezekitError, match="does not fit the layers before it"):
            build_plan(structure, _NumpyArrays(parameters, {}), spans)
