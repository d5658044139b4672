"""Quantisation-aware training."""

import copy

import pytest
import torch

from squeezekit.networks import network_config
from squeezekit.quantization.qat import QuantizedWeight, qat_recipe
from squeezekit.training.optimizers import optimizer_for
from squeezekit.training.recipe import RECIPES
from tests.fixtures.quantized_training import network, optimizer, train


def test_what_adamw_has_fine_tuned_goes_on_gently():
    net = network()
    assert qat_recipe(RECIPES["modern"], net)["optimizer"] == qat_recipe(RECIPES["classic"], net)["optimizer"] == "sgd"
    gentle, fine = qat_recipe(RECIPES["fine-tune"], net), RECIPES["fine-tune"]
    assert (gentle["optimizer"], gentle["learning_rate"]) == ("adamw", fine.learning_rate)


@pytest.mark.parametrize("name", RECIPES)
def test_everything_learns_at_the_rate_of_a_round(name):
    net = network_config("fire-pico").build()
    changes = qat_recipe(RECIPES[name], net)
    recipe = RECIPES[name].model_copy(update={**changes, "layer_decay": 1.0})
    rates = {group["lr"] for group in optimizer_for(net, recipe).param_groups}
    # Biases of batch normalization learn at 26 in recipe `fast`.
    assert rates == {changes["learning_rate"]}
    # Its normalization has no scale, that of ResNets has one.
    scaled = qat_recipe(RECIPES[name], network_config("resnet8").build())["learning_rate"]
    assert (scaled > changes["learning_rate"]) == (RECIPES[name].optimizer != "adamw")


def test_weights_stay_on_their_grid():
    net = network()
    chosen = optimizer(net)
    train(net, chosen)
    for one in chosen.weights:
        assert torch.allclose(one.weight, one.integers() * one.step)
        assert (one.latent - one.weight).abs().max() <= one.step.max()
        assert not torch.equal(one.latent, one.weight)


def test_a_latent_weight_is_rounded_to_the_integers_given():
    torch.manual_seed(0)
    weight, latent = torch.zeros(4, 3, 3, 3), 2 * torch.randn(4, 3, 3, 3)
    steps, integers = torch.rand(4) + 0.1, (latent + 0.3 * torch.randn(4, 3, 3, 3)).round()
    found = QuantizedWeight.from_quantized(weight, steps, integers, latent)
    assert torch.allclose(weight, integers * steps.view(-1, 1, 1, 1))
    found.round(found.step_bits())
    assert torch.equal(found.integers(), integers)
    assert (found.latent != found.weight).any()


def test_on_a_fine_grid_it_is_the_inner_optimizer():
    on_grid, plain = network(), network()
    losses = train(on_grid, optimizer(on_grid, step=1e-6))
    assert losses == pytest.approx(train(plain, torch.optim.SGD(plain.parameters(), 0.05, 0.9)), rel=1e-3)


def test_rounding_away_from_zero_must_be_worth_its_bits():
    # Of these rows one holds many large weights, one hardly any.
    latent = torch.tensor([[4.0, -3.0, 5.0, 2.0, 0.6], [0.0, 0.0, 1.0, 0.0, 0.6]]).view(2, 5, 1, 1)
    weight = torch.zeros_like(latent)
    found = QuantizedWeight.from_quantized(weight, torch.ones(2), latent.round(), latent)
    found.latent = latent.clone()
    found.round(found.step_bits())
    assert found.integers()[0].flatten().tolist() == [4, -3, 5, 2, 1]
    assert found.integers()[1].flatten().tolist() == [0, 0, 1, 0, 0]


def test_it_goes_on_as_if_nothing_had_happened():
    net = network()
    chosen = optimizer(net)
    train(net, chosen, 5)
    twin = copy.deepcopy(net)
    resumed = optimizer(twin)
    resumed.load_state_dict(copy.deepcopy(chosen.state_dict()))
    assert train(net, chosen, 3) == train(twin, resumed, 3)
