"""The family against the paper, the report and torchvision."""

import math

import pytest
import torch
from torch import nn

from squeezekit.networks import Fire, SqueezeNetConfig, network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.networks.squeezenet import Head
from squeezekit.system.errors import SqueezekitError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("squeezenet-cifar", 716_602, 50_429_952),
        ("squeezenet-late", 729_034, 52_543_488),
        ("squeezenet-fast", 673_234, 40_232_960),
        ("squeezenet1_0", 1_248_424, None),
        ("squeezenet1_1", 1_235_496, None),
        ("resnet8", 77_946, 12_501_632),
        ("resnet20", 269_722, None),
        ("mobilenetv2_050", 700_490, None),
        ("shufflenetv2_050", 352_042, 10_902_016),
        ("alexnet", 60_965_224, None),
        ("alexnet-cifar", 5_726_602, None),
    ],
)
def test_counts(name, parameters, macs):
    table = layer_table(network_config(name))
    assert table.parameters == parameters
    assert sum(layer.parameters for layer in table.layers) == parameters
    assert macs is None or table.macs == macs


def test_the_papers_metaparameters_give_v1_0():
    config = SqueezeNetConfig(base_e=128, incr_e=128, freq=2, squeeze_ratio=0.125, share_3x3=0.5, start=0, depth=8)
    per_branch = [(16, 64)] * 2 + [(32, 128)] * 2 + [(48, 192)] * 2 + [(64, 256)] * 2
    assert config.fire_widths() == [(s, e, e) for s, e in per_branch]


def test_the_reports_table():
    rows = layer_table(network_config("squeezenet-cifar")).layers
    assert (rows[0].type, rows[0].input, rows[0].output, rows[0].parameters) == ("Conv2d", (3, 32, 32), (96, 32, 32), 2688)
    assert (rows[1].type, rows[1].output) == ("MaxPool2d", (96, 16, 16))
    assert (rows[2].type, rows[2].output, rows[2].parameters) == ("Fire", (128, 16, 16), 11_920)
    assert [row.type for row in rows[-3:]] == ["Conv2d", "GlobalAvgPool", "Softmax"]


def test_names_and_shapes_are_torchvisions():
    shapes = {name: tuple(tensor.shape) for name, tensor in network_config("squeezenet1_1").build().state_dict().items()}
    assert shapes["features.0.weight"] == (64, 3, 3, 3)
    # torchvision 1.1: ReLU 1, pools at 2, 5 and 8, Fire modules between them.
    assert sorted({int(name.split(".")[1]) for name in shapes if name.startswith("features")}) == [0, 3, 4, 6, 7, 9, 10, 11, 12]
    assert shapes["features.12.expand3x3.weight"] == (256, 64, 3, 3)
    assert shapes["classifier.1.weight"] == (1000, 512, 1, 1)
    old = network_config("squeezenet1_0").build().state_dict()
    assert sorted({int(name.split(".")[1]) for name in old if name.startswith("features")}) == [0, 3, 4, 5, 7, 8, 9, 10, 12]


@pytest.mark.parametrize("ratio", [0.001, 0.0117, 0.125, 0.3, 1.0])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.37, 0.999])
def test_widths_never_reach_zero(ratio, share):
    for squeeze, expand1x1, expand3x3 in SqueezeNetConfig(base_e=6, incr_e=5, squeeze_ratio=ratio, share_3x3=share).fire_widths():
        assert min(squeeze, expand1x1, expand3x3) >= 1
        assert squeeze == max(1, math.floor(ratio * (expand1x1 + expand3x3) + 0.5))


def gradients(module, x, out):
    return torch.autograd.grad(out.square().sum(), [x, *module.parameters()])


def test_pooling_before_the_last_convolution_changes_nothing():
    torch.manual_seed(0)
    head = Head(6, 4, dropout=0, relu=False).double()
    plain = nn.Sequential(head[1], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.randn(3, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(head(x), plain(x))
    for ours, theirs in zip(gradients(head, x, head(x)), gradients(plain, x, plain(x)), strict=True):
        assert torch.allclose(ours, theirs)


def test_a_whole_network_equals_its_plain_formulation():
    torch.manual_seed(0)
    network = network_config("squeezenet-cifar").build().double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    y = network.features[0](x).relu()
    for layer in list(network.features)[2:]:
        y = torch.nn.functional.max_pool2d(y, 2) if isinstance(layer, nn.MaxPool2d) else plain_fire(layer, y)
    logits = network.classifier[1](y).mean((2, 3))
    assert torch.allclose(network(x), logits)


def plain_fire(fire, x):
    squeezed = fire.squeeze(x).relu()
    return torch.cat([fire.expand1x1(squeezed).relu(), fire.expand3x3(squeezed).relu()], 1)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("fields", [{"bypass": "complex"}, {"bypass": "simple"}])
def test_rows_of_the_table_add_up(fields, batch_norm):
    table = layer_table(network_config("squeezenet-late", batch_norm=batch_norm, **fields))
    assert sum(row.parameters for row in table.layers) == table.parameters
    fires = [row for row in table.layers if row.type == "Fire"]
    assert len(fires) == 8 and sum("bypass" in row.remark for row in fires) == (8 if fields["bypass"] == "complex" else 4)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("squeezenet1_0", ["pool", 3, 4, 5, "pool", 7, 8, 9, 10, "pool", 12]),
        ("squeezenet1_1", ["pool", 3, 4, "pool", 6, 7, "pool", 9, 10, 11, 12]),
    ],
)
def test_v1_computes_what_the_paper_and_torchvision_do(name, order):
    """Written out from the published layer lists, with the weights found by torchvision's names."""
    torch.manual_seed(0)
    network = network_config(name).build().double().eval()
    weights = network.state_dict()

    def convolution(x, where, **options):
        return nn.functional.conv2d(x, weights[f"{where}.weight"], weights[f"{where}.bias"], **options).relu()

    x = torch.randn(2, 3, 99, 99, dtype=torch.float64)
    y = convolution(x, "features.0", stride=2)
    for layer in order:
        if layer == "pool":
            y = nn.functional.max_pool2d(y, 3, 2, ceil_mode=True)
        else:
            squeezed = convolution(y, f"features.{layer}.squeeze")
            wide = convolution(squeezed, f"features.{layer}.expand3x3", padding=1)
            y = torch.cat([convolution(squeezed, f"features.{layer}.expand1x1"), wide], 1)
    logits = convolution(y, "classifier.1").mean((2, 3))
    assert logits.abs().max() > 1e-6
    assert torch.allclose(network(x), logits)


@pytest.mark.parametrize("name", ["squeezenet-cifar", "squeezenet-late"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("bypass", ["none", "simple", "complex"])
def test_activations_neither_vanish_nor_explode(name, batch_norm, bypass):
    torch.manual_seed(0)
    network = network_config(name, batch_norm=batch_norm, bypass=bypass).build()
    deviation = network.features(torch.rand(16, 3, 32, 32)).std().item()
    assert 0.05 < deviation < 12


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1", "squeezenet-cifar"])
def test_images_that_are_too_small_are_refused(name):
    fields = {"pool_before": (1, 2, 3, 4, 5, 6), "depth": 7} if name == "squeezenet-cifar" else {}
    # Built once: the size of images decides over no layer.
    network = network_config(name, image_size=224, **fields).build().eval()
    for size in range(8, 60):
        try:
            config = network_config(name, image_size=size, **fields)
        except SqueezekitError as error:
            assert "too small" in str(error)
            with torch.no_grad(), pytest.raises(RuntimeError):
                network(torch.zeros(1, 3, size, size))
        else:
            with torch.no_grad():
                assert network(torch.zeros(1, 3, size, size)).shape == (1, config.classes)


def test_mean_and_std_are_one_number_or_one_a_channel():
    assert network_config("squeezenet-cifar", mean=(0.5,), std=(0.2, 0.2, 0.2)).mean == (0.5,)
    with pytest.raises(SqueezekitError, match="mean must be one number"):
        network_config("squeezenet-cifar", channels=1, mean=(0.5, 0.5))


def test_bypass_adds_the_input():
    torch.manual_seed(0)
    plain, simple = Fire(8, 2, 4, 4), Fire(8, 2, 4, 4, bypass="identity")
    simple.load_state_dict(plain.state_dict())
    x = torch.randn(1, 8, 4, 4)
    assert torch.allclose(simple(x), plain(x) + x)
    counts = {
        kind: layer_table(network_config("squeezenet-late", bypass=kind)).parameters for kind in ("none", "simple", "complex")
    }
    assert counts["none"] == counts["simple"] < counts["complex"]


@pytest.mark.parametrize("name", ["squeezenet-cifar", "squeezenet-late"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_untrained_loss_is_that_of_a_guess(name, batch_norm):
    torch.manual_seed(0)
    network = network_config(name, batch_norm=batch_norm).build()
    loss = nn.functional.cross_entropy(network(torch.rand(64, 3, 32, 32)), torch.arange(64) % 10)
    assert loss.item() == pytest.approx(math.log(10), abs=0.05)


def test_wrong_fields_are_named():
    with pytest.raises(SqueezekitError, match="squeeze_ratio"):
        network_config("squeezenet-cifar", squeeze_ratio=0)
    with pytest.raises(SqueezekitError, match="choose one of squeezenet-cifar"):
        network_config("squeezenext")
    with pytest.raises(SqueezekitError, match="pool_before"):
        network_config("squeezenet-cifar", depth=1)


def test_mirrored_answers_are_the_mean_of_both_sides():
    torch.manual_seed(0)
    config = network_config("squeezenet-cifar", base_e=8, incr_e=8, stem_width=8, depth=3, mirrored=True, dropout=0.0)
    network, images = config.build(), torch.rand(4, 3, 32, 32)
    plain = config.model_copy(update={"mirrored": False}).build()
    plain.load_state_dict(network.state_dict())
    both = (plain(images) + plain(images.flip(3))) / 2
    assert torch.allclose(network.eval()(images), both, atol=1e-6)
    assert torch.equal(network.train()(images), plain(images))


def test_mirrored_answers_cost_twice_as_much():
    once, twice = (layer_table(network_config("squeezenet-cifar", mirrored=mirrored)) for mirrored in (False, True))
    assert twice.macs == 2 * once.macs
    assert twice.layers == once.layers
