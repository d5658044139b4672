"""The file of SqueezeNet's authors, written by the tests with other numbers."""

import struct

import numpy as np
import pytest
import torch

from squeezekit.modelfile.deep_compression_file import imagenet_classes, published_network, read_deep_compression, weights_of
from squeezekit.modelfile.sqz import from_bytes
from squeezekit.networks.registry import network_config
from squeezekit.system.errors import SqueezekitError
from tests.fixtures import deep_compression as written

SMALL = network_config("squeezenet1_0", image_size=32, depth=2, base_e=8, incr_e=0, stem_width=5, pool_before=(1,), classes=3)


@pytest.fixture(scope="module")
def layers():
    return written.random_layers(SMALL)


@pytest.fixture(scope="module")
def content(layers):
    return written.file_of(layers)


@pytest.mark.parametrize("density", [0, 0.02, 0.3, 1])
def test_every_weight_comes_bit_for_bit_and_colors_change_places(density):
    layers = written.random_layers(SMALL, density)
    found, expected = weights_of(written.file_of(layers), SMALL), written.weights_of(layers)
    assert list(found) == list(SMALL.build().state_dict())
    for name, array in found.items():
        given = expected[name][:, ::-1] if name == "features.0.weight" else expected[name]
        assert array.dtype == np.float32 and array.tobytes() == given.tobytes()


def changed(content, at, new):
    return content[:at] + new + content[at + len(new) :]


def test_a_file_that_is_no_such_network_is_refused(content, layers):
    first = 4 * len(layers)
    nan, large = struct.pack("<f", float("nan")), struct.pack("<I", 1 << 31)
    for damaged, reason in (
        (b"", "breaks off after 0 bytes"),
        (content[: first - 1], "breaks off"),
        (content[:-1], "in place of"),
        (content + b"\0", "in place of"),
        (changed(content, 0, large), "has 2,147,483,648 codes for"),
        (changed(content, first + 8, nan), "'features.0' are not finite"),
        (changed(content, first + 4 * 256, struct.pack("<f", float("inf"))), "not finite"),
        (changed(content, len(content) - 8, b"\xff" * 8), "go on behind"),
    ):
        with pytest.raises(ValueError, match=reason):
            weights_of(damaged, SMALL)


def test_noise_is_refused_or_read_and_nothing_else(content):
    random = np.random.default_rng(0)
    for _ in range(100):
        at = int(random.integers(len(content) - 4))
        try:
            found = weights_of(changed(content, at, random.bytes(4)), SMALL)
        except ValueError:
            continue
        assert all(np.isfinite(array).all() for array in found.values())


@pytest.mark.slow
def test_the_whole_network(tmp_path):
    layers = written.random_layers(published_network(), density=0.01)
    (tmp_path / "compressed_SqueezeNet.net").write_bytes(written.file_of(layers))
    sqz = from_bytes(read_deep_compression(tmp_path / "compressed_SqueezeNet.net").to_bytes())
    assert (sqz.network.name, sqz.network.image_size, len(sqz.classes)) == ("squeezenet1_0", 227, 1000)
    expected = written.weights_of(layers)
    assert all(sqz.arrays()[name].tobytes() == expected[name].tobytes() for name in expected if name != "features.0.weight")
    # What Caffe computes of a picture in BGR, less its means; 111, 55, 27 and 13 pixels a side.
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 227, 227)).astype(np.float32))
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (sqz.network.mean, sqz.network.std))
    caffe = pixels.flip(1) - torch.tensor([104.0, 117, 123]).view(1, 3, 1, 1)
    weight, bias = (torch.from_numpy(expected[f"features.0.{kind}"].copy()) for kind in ("weight", "bias"))
    network = sqz.build()
    with torch.inference_mode():
        stem = network.features[0]((pixels / 255 - mean) / std)
        torch.testing.assert_close(stem, torch.nn.functional.conv2d(caffe, weight, bias, stride=2), rtol=1e-4, atol=1e-3)
        assert network.features(torch.zeros(1, 3, 227, 227)).shape == (1, 512, 13, 13)


def test_other_files_are_one_sentence(tmp_path):
    path = tmp_path / "x.net"
    for content, reason in ((b"\xff" * 1000, "codes for"), (bytes(2**21 + 1), "larger than")):
        path.write_bytes(content)
        with pytest.raises(SqueezekitError, match=reason) as raised:
            read_deep_compression(path)
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(SqueezekitError, match="cannot be read"):
        read_deep_compression(tmp_path / "nowhere.net")


def test_the_names_of_the_classes():
    names = imagenet_classes()
    assert len(set(names)) == 1000 and all(name == name.strip() for name in names)
    assert (names[0], names[217], names[701]) == ("tench", "English springer", "parachute")
