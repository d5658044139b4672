"""Muon, and what it leaves to SGD."""

import copy

import pytest
import torch

from squeezekit import train
from squeezekit.networks import network_config
from squeezekit.training.muon import Muon, moved, moved_at_once, orthogonal
from squeezekit.training.optimizers import optimizer_for
from squeezekit.training.recipe import Recipe

MUON = Recipe(optimizer="muon", learning_rate=0.1, muon_rate=0.2, muon_momentum=0.6, weight_decay=0.01)
NARROW = {"image_size": 16, "widths": (16, 16, 24)}


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (1, 9), (8, 8)])
def test_singular_values_come_near_to_one_and_directions_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.diagonal(u.T @ orthogonal(matrix) @ vt.T)
    # A square matrix has small singular values too, which three steps lift only in part.
    assert values.max() < 1.25 and values.median() > 0.6
    assert torch.allclose(orthogonal(matrix), u @ torch.diag(values) @ vt, atol=1e-4)


def test_groups_without_orthogonal_updates_are_those_of_torchs_sgd():
    torch.manual_seed(0)
    start = torch.randn(5, 3)
    ours, theirs = (start.clone().requires_grad_() for _ in range(2))
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    mine = Muon([torch.zeros(2, 2, requires_grad=True)], [{"params": [ours], **options}], rate=1, momentum=0.5)
    torchs = torch.optim.SGD([theirs], nesterov=True, **options)
    for _ in range(5):
        for parameter, optimizer in ((ours, mine), (theirs, torchs)):
            optimizer.zero_grad()
            (parameter**3).sum().backward()
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_filters_keep_their_norm_and_only_those_before_a_norm_are_muons():
    network = network_config("squeezenet-cifar", batch_norm=True, bypass="complex", base_e=16, incr_e=16).build()
    optimizer = optimizer_for(network, MUON)
    muons = {id(p) for p in optimizer.param_groups[0]["params"]}
    named = dict(network.named_parameters())
    assert {id(named["features.0.weight"]), id(named["features.3.expand3x3.weight"])} <= muons
    assert id(named["classifier.1.weight"]) not in muons
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(named)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 0.01, 0]
    for _ in range(2):
        network(torch.rand(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    filters = named["features.3.expand3x3.weight"]
    # √out before the update of length 0.2 · √rank · about 1.
    assert float(filters.detach().norm()) == pytest.approx(len(filters) ** 0.5, rel=0.2)


def test_its_momentum_goes_with_its_state():
    network = network_config("squeezenet-cifar", batch_norm=True, base_e=16, incr_e=16).build()
    optimizer = optimizer_for(network, MUON)

    def step(network, optimizer):
        torch.manual_seed(0)
        optimizer.zero_grad()
        network(torch.rand(4, 3, 32, 32)).square().sum().backward()
        optimizer.step()

    step(network, optimizer)
    twin = copy.deepcopy(network)
    resumed, fresh = optimizer_for(twin, MUON), copy.deepcopy(network)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, its in ((network, optimizer), (twin, resumed), (fresh, optimizer_for(fresh, MUON))):
        step(one, its)
    weights = [one.features[0].weight for one in (network, twin, fresh)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [NARROW, pytest.param({}, marks=pytest.mark.long)], ids=["narrow", "as it is"])
def test_recipe_fast_learns_the_digits(sizes, tmp_path):
    run = train("digits", out=tmp_path / "run", network="fast", recipe="fast", epochs=8, limit=800, test=False, **sizes)
    assert run.summary["validation"]["accuracy"] > 0.8


def test_without_batch_normalisation_all_weights_learn_by_sgd_and_that_is_said(capsys):
    optimizer = optimizer_for(network_config("squeezenet-cifar").build(), MUON)
    assert isinstance(optimizer, torch.optim.SGD)
    assert "learn by SGD" in capsys.readouterr().err


def test_depthwise_filters_are_left_to_sgd():
    network = network_config("mobilenetv2_050").build()
    depthwise = {m.weight for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1}
    muon = optimizer_for(network, MUON).param_groups[0]["params"]
    assert depthwise and not depthwise & set(muon)


def test_all_filters_at_once_move_as_each_by_itself():
    torch.manual_seed(0)
    shapes = ((16, 8, 3, 3), (8, 16, 1, 1), (40, 8, 1, 1), (12, 3, 3, 3))
    filters = [torch.randn(shape).contiguous(memory_format=torch.channels_last) for shape in shapes]
    updates = [torch.randn_like(weights) for weights in filters]
    one_by_one, at_once = ([weights.clone() for weights in filters] for _ in range(2))
    moved(one_by_one, updates, 0.1)
    moved_at_once(at_once, updates, torch.tensor(0.1))
    for before, one, other in zip(filters, one_by_one, at_once, strict=True):
        # bf16 has eight bits.
        moves = [after - before * len(before) ** 0.5 / before.norm() for after in (one, other)]
        assert (moves[0] - moves[1]).norm() < 0.03 * moves[0].norm()
        assert other.stride() == before.stride()


def test_the_rate_of_muons_filters_is_that_of_all_unless_it_is_given():
    network = network_config("squeezenet-cifar", batch_norm=True).build()
    rates = [optimizer_for(network, MUON.model_copy(update={"muon_rate": rate})).param_groups[0]["lr"] for rate in (0.0, 0.3)]
    assert rates == [MUON.learning_rate, 0.3]
