"""Which parameters learn at which rate; optimizers start without what they do not need."""

import subprocess
import sys

import pytest
from torch import nn

from squeezekit.networks import network_config
from squeezekit.training.optimizers import optimizer_for
from squeezekit.training.recipe import RECIPES
from tests.fixtures.tiny import SMALL

TRAINED = f"""
import sys
from squeezekit import train
for optimizer in ("muon", "sgd", "adam", "adamw"):
    out = sys.argv[1] + optimizer
    train("digits", out=out, optimizer=optimizer, epochs=1, limit=200, precision="fp32", test=False, **{SMALL})
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""
NEEDLESS = ["torch._dynamo", "torch._inductor", "sklearn", "scipy", "matplotlib", "numba", "optuna", "onnx"]


@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adamw"])
@pytest.mark.parametrize("network", ["fast", "squeezenet-cifar", "resnet8", "alexnet-cifar"])
def test_biases_of_what_is_normalized_learn_at_their_rate_and_nothing_else_does(network, optimizer):
    fields = {"squeezenet-cifar": {"batch_norm": True, **SMALL}}.get(network, {})
    built = network_config(network, **fields).build()
    recipe = RECIPES["fast"].model_copy(update={"optimizer": optimizer, "bias_rate": 7.0})
    groups, names = optimizer_for(built, recipe).param_groups, {id(p): name for name, p in built.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert rates.keys() == dict(built.named_parameters()).keys()
    norms = {name for name, module in built.named_modules() if isinstance(module, nn.BatchNorm2d)}
    wanted = {f"{name}.bias" for name in norms} | ({"stem.bias"} if network == "fast" else set())
    assert {name for name, rate in rates.items() if rate == 7} == wanted
    decayed = [p for group in groups for p in group["params"] if group["weight_decay"]]
    assert all(p.ndim > 1 for p in decayed)


@pytest.mark.parametrize("network", ["fast", "squeezenet-cifar", "resnet8", "mobilenetv2_050"])
def test_rates_fall_from_layer_to_layer_towards_the_input(network):
    built = network_config(network, **({"batch_norm": True, **SMALL} if network == "squeezenet-cifar" else {})).build()
    recipe = RECIPES["fine-tune"].model_copy(update={"learning_rate": 1.0, "layer_decay": 0.5})
    names = {id(p): name for name, p in built.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in optimizer_for(built, recipe).param_groups for p in group["params"]}
    layers = [f"{name}.weight" for name, module in built.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [rates[name] for name in layers] == [0.5**behind for behind in reversed(range(len(layers)))]
    assert rates.keys() == set(names.values())
    # A layer's bias, and the normalization behind it, learn as it does.
    assert rates["classifier.bias" if network != "squeezenet-cifar" else "classifier.1.bias"] == 1
    assert set(rates.values()) == {rates[name] for name in layers}


@pytest.mark.slow
def test_a_training_imports_neither_compiler_nor_libraries_that_it_does_not_use(tmp_path):
    command = [sys.executable, "-c", TRAINED, tmp_path / "run", *NEEDLESS]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
