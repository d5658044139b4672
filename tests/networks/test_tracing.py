"""Graphs of networks, while other threads of the same process use networks too."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import torch
from torch import nn

from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.registry import network_config
from squeezekit.networks.tracing import traced


class Waits(nn.Module):
    """Is being traced until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.reached, self.go_on = Event(), Event()
        self.first, self.last = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3)

    def forward(self, x):
        x = self.first(x) * self.last.bias[0]
        self.reached.set()
        assert self.go_on.wait(60)
        return self.last(x)


def test_another_thread_computes_while_one_traces():
    waits, other, images = Waits(), nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).eval(), torch.rand(2, 1, 8, 8)
    with torch.no_grad(), ThreadPoolExecutor(1) as pool:
        expected = other(images), waits.first(images)
        tracing = pool.submit(traced, waits)
        assert waits.reached.wait(60)
        # The one that is being traced too.
        assert torch.equal(other(images), expected[0]) and torch.equal(waits.first(images), expected[1])
        waits.go_on.set()
        graph = tracing.result()
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["first", "last"]


def test_threads_describe_networks_at_once():
    config = network_config("tiny")
    expected = layer_table(config)
    with ThreadPoolExecutor(4) as pool:
        assert all(table == expected for table in pool.map(layer_table, [config] * 12))
