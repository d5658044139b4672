"""Networks by their nodes: shapes, work, and what they compute."""

import pytest
import torch
import torch.nn.functional as F

from squeezekit.networks import network_config
from squeezekit.networks.config import MAX_VALUES
from squeezekit.networks.graph import GraphConfig, Node, layer_name
from squeezekit.networks.layer_table import layer_table
from squeezekit.system.errors import SqueezekitError


def graph(*nodes, **fields):
    return GraphConfig(name="graph", nodes=tuple(Node(**node) for node in nodes), **{"classes": 4, "image_size": 9, **fields})


def convolution(place, channels, kernel=3, **fields):
    return {"kind": "convolution", "inputs": (place,), "channels": channels, "kernel": kernel, **fields}


MEAN, HEAD = {"kind": "mean", "inputs": (1,)}, {"kind": "linear", "inputs": (2,)}


def test_what_the_name_alone_stands_for_can_be_trained_and_described():
    config = network_config("graph", classes=7)
    assert config.build()(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert layer_table(config).macs == config.work().macs == 16 * 27 * 16 * 16 + 16 * 7


def test_nodes_compute_what_torch_does():
    config = graph(
        convolution(0, 6, padding=(1, 1, 1, 1)),
        {"kind": "relu6", "inputs": (1,)},
        convolution(2, 6, 5, stride=2, padding=(1, 2, 2, 1), groups=3),
        {"kind": "max-pool", "inputs": (2,), "kernel": 3, "stride": 2, "padding": (0, 1, 1, 0)},
        {"kind": "concatenate", "inputs": (3, 4)},
        {"kind": "average-pool", "inputs": (5,), "kernel": 2, "stride": 1},
        {"kind": "add", "inputs": (6, 6)},
        {"kind": "relu", "inputs": (7,)},
        {"kind": "linear", "inputs": (8,), "channels": 5},
        {"kind": "linear", "inputs": (9,)},
    )
    torch.manual_seed(0)
    network, x = config.build(), torch.randn(3, 3, 9, 9)
    weights = {number: network.get_submodule(layer_name(number, config.nodes[number])) for number in (0, 2, 8, 9)}
    first = F.conv2d(x, weights[0].weight, weights[0].bias, padding=1).clamp(0, 6)
    padded = F.pad(first, (1, 2, 2, 1))
    strided = F.conv2d(padded, weights[2].weight, weights[2].bias, 2, groups=3)
    pooled = F.max_pool2d(F.pad(first, (0, 1, 1, 0), value=-torch.inf), 3, 2)
    joined = F.avg_pool2d(torch.cat([strided, pooled], 1), 2, 1)
    hidden = F.linear(F.relu(2 * joined).flatten(1), weights[8].weight, weights[8].bias)
    assert torch.allclose(network(x), F.linear(hidden, weights[9].weight, weights[9].bias), atol=1e-6)
    assert [tuple(made) for made in config.shapes()[3:7]] == [(6, 4, 4), (6, 4, 4), (12, 4, 4), (12, 3, 3)]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([convolution(1, 4), MEAN], "number 1 takes what a later one makes"),
        ([convolution(0, 4, 11), MEAN], "has a window of 11 for 9 pixels"),
        ([convolution(0, 4, 3, padding=(3, 0, 0, 0)), MEAN], "pads by 3 pixels for a window of 3"),
        ([convolution(0, 4, groups=2), MEAN], "divides 3 and 4 channels into 2 groups"),
        ([convolution(0, 4), {"kind": "add", "inputs": (0, 1)}], "adds the shapes"),
        ([convolution(0, 4), {"kind": "concatenate", "inputs": (0, 1)}], "joins the shapes"),
        ([{"kind": "mean", "inputs": (0,)}, convolution(1, 4)], "takes maps"),
        ([{"kind": "relu", "inputs": (0, 0)}], "takes one input"),
        ([convolution(0, 5), MEAN], "not 4 logits"),
        ([{"kind": "average-pool", "inputs": (0,), "kernel": 2, "dilation": 2}, MEAN], "cannot be dilated"),
        ([{"kind": "max-pool", "inputs": (0,), "kernel": 3, "dilation": 2, "padding": (0, 1, 0, 1)}, MEAN], "cannot be dilated"),
    ],
)
def test_nodes_that_do_not_fit_together_are_refused(nodes, said):
    with pytest.raises(ValueError, match=said):
        graph(*nodes)


def test_a_few_bytes_cannot_ask_for_all_memory():
    wide = [convolution(0, 1 << 16, 1), MEAN, HEAD]
    with pytest.raises(SqueezekitError, match="MACs an image"):
        graph(*wide, image_size=1024).check_work()
    # Each doubles the channels before it.
    doubled = [{"kind": "concatenate", "inputs": (place, place)} for place in range(60)]
    with pytest.raises(SqueezekitError, match="parameters here"):
        graph(*doubled, {"kind": "mean", "inputs": (60,)}, {"kind": "linear", "inputs": (61,)}).check_work()
    with pytest.raises(SqueezekitError, match=f"at most {MAX_VALUES:,}"):
        graph(*doubled[:20], {"kind": "mean", "inputs": (20,)}, {"kind": "linear", "inputs": (21,)}).check_work()
    # What a pooling looks at takes time, and a border memory.
    wide = {"kind": "max-pool", "inputs": (0,), "kernel": 1025, "padding": (1024, 1023, 1024, 1023)}
    with pytest.raises(SqueezekitError, match="MACs an image"):
        graph(wide, MEAN, HEAD, image_size=8).check_work()
    narrow = graph({**wide, "kernel": 5, "padding": (2, 2, 2, 2)}, MEAN, HEAD).work()
    assert narrow.macs == 25 * 3 * 81 + 3 * 4 and narrow.values == 3 * (81 + 81 + 13 * 13)
    # A field that a kind has no use for changes nothing.
    assert graph(MEAN | {"inputs": (0,)}, {"kind": "relu", "inputs": (1,), "padding": (1, 0, 0, 0)}, HEAD).work().values > 0
    # What a later node still reads stays in memory.
    kept = [convolution(0, 4, 1), *(convolution(1, 4, 1) for _ in range(8)), {"kind": "add", "inputs": tuple(range(2, 10))}]
    work = graph(*kept, {"kind": "mean", "inputs": (10,)}).work()
    assert work.values == 9 * 4 * 81
