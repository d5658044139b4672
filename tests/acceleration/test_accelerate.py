"""An accelerated network is the plain one, faster."""

import copy

import pytest
import torch
from torch import nn

from squeezekit.acceleration.accelerate import FORMS, accelerate
from squeezekit.networks import network_config
from tests.fixtures.gradients import check_gradients_in_bf16

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kernels")]

EXACT = {"rtol": 1e-10, "atol": 1e-11}
SLIM = {"base_e": 8, "incr_e": 8, "stem_width": 8}
NORMED = {"batch_norm": True}
NETWORKS = [
    *(
        (name, SLIM | fields)
        for name in ("squeezenet-cifar", "squeezenet-late", "squeezenet-fast")
        for fields in ({}, NORMED, {**NORMED, "bypass": "simple"}, {**NORMED, "bypass": "complex"}, {**NORMED, "pool_size": 3})
    ),
    ("squeezenet-cifar", SLIM | {"pool_size": 3, "head_relu": True}),
    ("fast", {"widths": (8, 12, 16)}),
    ("staged", {"block": "fire", "ratio": 0.5, "depths": (1, 1, 1)}),
    ("staged", {"block": "inverted"}),
    ("resnet8", {}),
    ("resnet20", {"batch_norm": False}),
    ("mobilenetv2_050", {}),
    ("shufflenetv2_050", {}),
    ("xvel-tiniest", {}),
    ("alexnet-cifar", {"image_size": 32, **NORMED}),
]


class Own(nn.Module):
    """A network as a user may write it, with what looks like our layers and is not."""

    class Norm(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) + 1

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            self.Norm(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding="same", groups=8),
            nn.BatchNorm2d(8, affine=False),
            nn.ReLU6(),
            nn.Conv2d(8, 70, 1),
            nn.BatchNorm2d(70, momentum=None),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),
            nn.Conv2d(70, 70, 3, 2, 1, groups=70),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.AvgPool2d(3, 1, 1),
        )
        self.head = nn.Linear(70, 5)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def built(name, fields):
    torch.manual_seed(0)
    network = Own() if name == "own" else network_config(name, **{"image_size": 16, **fields}).build()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.affine:
                module.weight.uniform_(-1.5, 1.5)
                module.bias.normal_()
    return network.double().to(memory_format=torch.channels_last)


def drawn(count, side):
    return torch.randn(count, 3, side, side, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize(("name", "fields"), [*NETWORKS, ("own", {})])
def test_it_computes_and_learns_the_same(name, fields):
    plain = built(name, fields)
    faster = accelerate(copy.deepcopy(plain), kernels=True)
    side = 32 if name in ("alexnet-cifar", "own") else 16
    images = drawn(6, side)

    def results(network):
        torch.manual_seed(1)
        loss = nn.functional.cross_entropy(network.train()(images), torch.arange(6) % 5)
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(loss, [images, *learning])
        with torch.inference_mode():
            answers = [network.eval()(drawn(count, side).detach()) for count in (2, 32)]
        return [loss, *gradients, *network.buffers(), *answers]

    assert [*faster.state_dict()] == [*plain.state_dict()]
    assert {type(module) for module in faster.modules()} & {faster_class for _, faster_class, _ in FORMS}
    for one, other in zip(results(faster), results(plain), strict=True):
        assert torch.allclose(one.double(), other.double(), **EXACT)


@pytest.mark.parametrize(("name", "fields"), [*NETWORKS, ("own", {})])
def test_once_more_changes_nothing_and_copies_are_as_fast(name, fields):
    network = accelerate(built(name, fields), kernels=True)
    kinds = [type(module) for module in network.modules()]
    assert [type(module) for module in accelerate(network, kernels=True).modules()] == kinds
    assert [type(module) for module in copy.deepcopy(network).modules()] == kinds


def test_layers_of_the_users_own_classes_are_left_alone():
    network = accelerate(Own(), kernels=True)
    assert type(network) is Own and sum(type(module) is Own.Norm for module in network.modules()) == 1
    kept = [type(network.body[i]) for i in (6, 7, 10, 12)]
    assert kept == [nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm2d, nn.MaxPool2d]


def test_layers_that_somebody_watches_are_called():
    network, seen = Own(), []
    network.body[2].register_forward_hook(lambda *_: seen.append(1))
    accelerate(network, kernels=True)(torch.randn(2, 3, 16, 16))
    assert seen == [1]


def test_dropout_is_the_same_whether_accelerated_or_not():
    plain = built("squeezenet-cifar", SLIM | {"dropout": 0.5}).train()
    faster = accelerate(copy.deepcopy(plain), kernels=True)
    for network in (plain, faster):
        network.classifier[0].before, network.classifier[0].after = 3, 2
    images, answers = drawn(4, 16).detach(), []
    for network in (plain, faster):
        torch.manual_seed(5)
        answers.append(network(images))
    assert torch.allclose(*answers, **EXACT)


def test_gradients_of_xvel_tiniest_in_bf16_are_those_in_fp32_nearly():
    torch.manual_seed(0)
    check_gradients_in_bf16(accelerate(network_config("xvel-tiniest").build(), kernels=True))
