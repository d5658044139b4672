"""Deep Compression, the peer."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from squeezekit.codec.huffman import coded_bytes
from squeezekit.compression.compress import compress
from squeezekit.compression.deep_compression import Codebook, CodebookOptimizer, MaskedOptimizer, kept, published_bytes
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks import network_config


def network():
    torch.manual_seed(0)
    return network_config("squeezenet-cifar", base_e=16, incr_e=8, squeeze_ratio=0.5, stem_width=8, depth=3, dropout=0.0).build()


def train(net, chosen, steps):
    losses = []
    for i in range(steps):
        torch.manual_seed(i)
        loss = F.cross_entropy(net(torch.rand(16, 3, 32, 32)), torch.randint(10, (16,)))
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 1e-9])
def test_the_largest_weights_are_kept(density):
    weight = torch.randn(20, 10, 3, 3)
    mask = kept(weight, density)
    assert mask.sum() == max(round(density * weight.numel()), 1)
    assert density == 1.0 or weight[mask].abs().min() > weight[~mask].abs().max()


def test_pruned_weights_stay_zero_and_the_rest_learns():
    net = network()
    weights = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    masks = [kept(weight, 0.3) for weight in weights]
    chosen = MaskedOptimizer(torch.optim.SGD(net.parameters(), 0.05, 0.9), weights, masks)
    before = [weight.detach().clone() for weight in weights]
    train(net, chosen, 3)
    for weight, mask, was in zip(weights, masks, before, strict=True):
        assert not weight[~mask].any() and not torch.equal(weight, was)


def test_k_means_comes_near_and_keeps_zeros():
    torch.manual_seed(0)
    weight = torch.randn(30, 20, 3, 3)
    weight[kept(weight, 0.5).logical_not()] = 0
    was = weight.clone()
    codebook = Codebook.of(weight, 16)
    assert len(weight.unique()) <= 16 and torch.equal(weight == 0, was == 0)
    found = was[was != 0]
    evenly = torch.linspace(float(found.min()), float(found.max()), 15)
    assert (weight - was).square().sum() < 0.5 * (found[:, None] - evenly).square().min(1).values.sum()
    for number in range(15):
        members = was[codebook.indices == number]
        assert not len(members) or members.mean() == pytest.approx(float(codebook.entries[number].detach()), abs=0.02)


def test_weights_that_share_an_entry_share_their_gradients():
    net = network()
    weights = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    codebooks = [Codebook.of(weight, 8) for weight in weights]
    chosen = CodebookOptimizer(torch.optim.SGD([c.entries for c in codebooks], 1.0), codebooks)
    before = [codebook.entries.detach().clone() for codebook in codebooks]
    train(net, chosen, 1)
    for weight, codebook, was in zip(weights, codebooks, before, strict=True):
        for number in range(7):
            moved = was[number] - codebook.entries[number].detach()
            assert moved == pytest.approx(float(weight.grad[codebook.indices == number].sum()), abs=1e-5)
        assert len(weight.detach().unique()) <= 8


def test_codebooks_go_on_as_if_nothing_had_happened():
    def optimizer(net):
        codebooks = [Codebook.of(m.weight, 8) for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
        biases = [p for p in net.parameters() if p.ndim == 1]
        return CodebookOptimizer(torch.optim.SGD([*(c.entries for c in codebooks), *biases], 0.05, 0.9), codebooks)

    net = network()
    chosen = optimizer(net)
    train(net, chosen, 4)
    state, weights = copy.deepcopy(chosen.state_dict()), copy.deepcopy(net.state_dict())
    twin = network()
    resumed = optimizer(twin)
    twin.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert train(net, chosen, 3) == train(twin, resumed, 3)


def test_published_bytes_by_hand():
    # Gaps 0, 2, 19 and 0; of 4 bits, 19 is a filler after 16 and a gap of 3; of 5 or 8 it is one gap.
    weight = np.zeros((1, 1, 5, 5), np.float32)
    weight.ravel()[[0, 3, 23, 24]] = [0.5, -0.5, 0.5, 0.25]
    bias = np.ones(3, np.float32)
    four = coded_bytes(Counter([1, 0, 1, 2, 3])) + coded_bytes(Counter([0, 2, 15, 3, 0]))
    eight = coded_bytes(Counter([2, 0, 2, 1])) + coded_bytes(Counter([0, 2, 19, 0]))
    assert published_bytes({"w": weight, "b": bias}) == 3 * 4 + min(four, eight) + 3 * 4
    assert published_bytes({"w": np.zeros((2, 2, 1, 1), np.float32)}) == 0


def test_the_whole_way(tiny_run, tmp_path):
    found = compress(tiny_run.folder, tmp_path / "x.sqz", method="deep-compression", max_drop=30, epochs=1)
    file = read_sqz(tmp_path / "x.sqz")
    names = [stage["name"] for stage in found.stages]
    assert names[1].startswith("pruned") and names[-1].startswith("codebooks")
    for name, array in file.arrays().items():
        assert len(np.unique(array)) <= 256 or name.endswith("bias")
    assert found.stages[-1]["density"] < 0.51
    assert 0.5 < found.bytes / published_bytes(file.weights) < 1.5
