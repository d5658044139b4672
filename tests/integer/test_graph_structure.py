"""Nodes of other programs become parts that integers compute; the first that cannot is named, hostile ones are refused."""

import pytest

from squeezekit import SqueezekitError
from squeezekit.integer.graph_structure import MAX_NODES
from squeezekit.integer.parts import GraphLayers, GraphPooling
from squeezekit.integer.structure import structure_of
from squeezekit.networks import network_config
from tests.fixtures.exported import GRAPHS, config_of


def structure(nodes, **fields):
    config = network_config("graph", nodes=[{"kind": kind, "inputs": inputs, **more} for kind, inputs, more in nodes], **fields)
    shapes = {name: tuple(parameter.shape) for name, parameter in config.build().named_parameters()}
    return structure_of(config.model_dump(mode="json"), shapes)


def test_convolutions_take_along_what_stands_behind_them():
    first, second, third, fourth, fifth, sixth = structure(GRAPHS["residual"]).parts
    assert isinstance(first, GraphLayers) and first.rectified and first.added is None
    assert (second.source, third.source, third.added, third.rectified) == (1, 2, 1, True)
    assert (fourth.source, fifth.source, fifth.rectified) == (3, 4, False)
    # The shortcut is the later one: it is added to what the other way makes.
    assert (sixth.source, sixth.added, sixth.rectified, sixth.convolutions[0].stride) == (3, 5, True, 2)


def test_the_last_convolution_may_make_the_logits():
    found = structure(GRAPHS["joined"])
    assert found.rectified and found.classifier.name == "steps.11"
    assert [type(part) for part in found.parts] == [GraphLayers, GraphPooling, GraphLayers, GraphLayers, GraphPooling]
    assert [layer.kernel for layer in found.parts[3].convolutions] == [1, 3]


def test_relu6_cuts_off():
    assert [part.most for part in structure(GRAPHS["inverted, of six"]).parts if part.rectified] == [6.0] * 4


CONVOLUTION = ("convolution", (0,), {"channels": 8, "kernel": 3, "padding": (1, 1, 1, 1)})
END = [("mean", (2,), {}), ("linear", (3,), {})]


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        (
            [CONVOLUTION, ("max-pool", (1,), {"kernel": 3, "stride": 2, "padding": (1, 1, 1, 1)}), *END],
            r"node 2 \(max-pool whose",
        ),
        ([CONVOLUTION, ("max-pool", (1,), {"kernel": 4, "stride": 4}), *END], r"node 2 \(max-pool of other windows"),
        ([("max-pool", (0,), {"kernel": 2, "stride": 2}), ("convolution", (1,), {"channels": 8}), *END], r"node 1 \(max-pool"),
        ([CONVOLUTION, ("average-pool", (1,), {"kernel": 2, "stride": 2}), *END], r"node 2 \(average-pool of less"),
        (
            [CONVOLUTION, ("convolution", (1,), {"channels": 8, "kernel": 3, "dilation": 2}), *END],
            r"node 2 \(convolution of filters",
        ),
        ([CONVOLUTION, ("convolution", (1,), {"channels": 8, "groups": 4}), *END], r"node 2 \(convolution in groups"),
        ([CONVOLUTION, ("convolution", (1,), {"channels": 8, "kernel": 3, "padding": (0, 1, 0, 1)}), *END], r"node 2 .* borders"),
        ([CONVOLUTION, ("add", (1, 1), {}), *END], r"node 2 \(add"),
        ([("convolution", (0,), {"channels": 3}), ("add", (0, 1), {}), *END], r"node 2 \(add of the image\)"),
        ([CONVOLUTION, ("relu", (1,), {}), ("add", (1, 2), {}), ("mean", (3,), {}), ("linear", (4,), {})], r"node 2 \(relu that"),
        ([("mean", (0,), {}), ("linear", (1,), {})], r"node 2 \(linear of another map"),
        (
            [("convolution", (0,), {"channels": 3, "groups": 3}), ("mean", (1,), {}), ("linear", (2,), {})],
            r"node 1 \(convolution in groups",
        ),
        (
            [
                CONVOLUTION,
                ("convolution", (1,), {"channels": 8}),
                ("add", (1, 2), {}),
                ("relu6", (3,), {}),
                ("mean", (4,), {}),
                ("linear", (5,), {}),
            ],
            r"node 4 \(relu6 of a sum",
        ),
        ([CONVOLUTION, ("add", (1,), {}), *END], r"node 2 \(add of fewer"),
        (
            [CONVOLUTION, ("max-pool", (1,), {"kernel": 2, "stride": 2}), ("mean", (1,), {}), ("linear", (3,), {})],
            r"node 2 \(max-pool that nothing reads",
        ),
        ([CONVOLUTION, ("relu", (1,), {}), ("linear", (2,), {})], r"node 3 \(linear that is not the last"),
        ([CONVOLUTION, ("mean", (1,), {}), ("linear", (2,), {"channels": 8}), ("linear", (3,), {})], r"node 3 \(linear that"),
        ([("convolution", (0,), {"kernel": 1}), ("mean", (1,), {}), ("relu", (2,), {})], r"node 3 \(relu that"),
    ],
)
def test_the_first_node_without_integer_form_is_named(nodes, problem):
    with pytest.raises(SqueezekitError, match=problem + r".*has no integer form; export it to ONNX instead$"):
        structure(nodes)


def test_very_deep_networks_are_refused():
    deep = [CONVOLUTION, *(("convolution", (number,), {"channels": 8}) for number in range(1, 260))]
    with pytest.raises(SqueezekitError, match=r"behind 256 maps\) has no integer form"):
        structure([*deep, ("mean", (260,), {}), ("linear", (261,), {})])


def changed(**fields):
    """The nodes of a network as a file holds them, its first one changed."""
    config = config_of("residual")
    stored = config.model_dump(mode="json")
    stored["nodes"][0] = {**stored["nodes"][0], **fields}
    return stored, {name: tuple(parameter.shape) for name, parameter in config.build().named_parameters()}


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": 3},
        {"kind": "softmax" * 1000},
        {"kind": "\x1b[31m\n"},
        {"inputs": []},
        {"inputs": [1]},
        {"inputs": [-1]},
        {"inputs": [0, 0]},
        {"inputs": ["0"]},
        {"inputs": [[0]]},
        {"inputs": {}},
        {"kernel": 0},
        {"kernel": 1.5},
        {"kernel": 5},
        {"stride": 1 << 70},
        {"padding": [1, 1, 1]},
        {"padding": [True, 1, 1, 1]},
        {"groups": None},
    ],
)
def test_nodes_of_a_damaged_file_are_refused_in_a_sentence(fields):
    with pytest.raises(SqueezekitError, match=r"^.{10,160}$"):
        structure_of(*changed(**fields))


def test_nodes_are_few_and_fit_their_weights():
    stored, shapes = changed()
    for nodes in (None, 3, [], [None], stored["nodes"] * (MAX_NODES // 2), stored["nodes"][:-1], stored["nodes"][1:]):
        with pytest.raises(SqueezekitError):
            structure_of({**stored, "nodes": nodes}, shapes)
    with pytest.raises(SqueezekitError, match="its weights are not those of its network"):
        structure_of(stored, {**shapes, "steps.99.weight": (1, 1)})
