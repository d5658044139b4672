"""A hostile `.sqz`, `.sqd` or `.onnx` file is refused with one sentence, fast and in little memory: a fuzzer looks for others.

Each test reads a few inputs in `make test`, and many in `make test-long`. What was found once is among the seeds.
"""

import hashlib
import json
import tempfile
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

from squeezekit.codec.coder_tables import COARSE, FINE
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import from_log_steps
from squeezekit.codec.tensors import encode_tensors
from squeezekit.modelfile import coded_text, container
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.delta import apply_delta, delta_between
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.modelfile.sqz import Sqz, Stage, from_bytes
from squeezekit.networks import network_config
from tests.fixtures.mutation import findings

FEW, MANY = 20, pytest.param(3000, marks=pytest.mark.long)
SEPARATOR = b"\0|\xff|\0"
# Of JSON, as the sections of files hold it, and what broke the use of it.
TOKENS = [
    b'"',
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"-",
    b"1e308",
    b"1e-320",
    b"1e999",
    b"NaN",
    b"null",
    b"4096",
    b"1024",
    b'"\\ud800"',
]
TOKENS += [
    b'"\\u0000"',
    b"1" + b"0" * 12,
    b"9" * 4400,
    b"[" * 2000,
    b'"simple"',
    b'"complex"',
    b'"resnet8"',
    b'"tiniest"',
    b'"v1.1"',
]


@cache
def whole_file(seed=0):
    """A file of a tiny network with every kind of section and of weights."""
    torch.manual_seed(seed)
    config = network_config(
        "squeezenet-cifar", base_e=4, incr_e=4, stem_width=4, depth=2, pool_before=(1,), classes=2, image_size=8
    )
    network, weights = config.build().eval(), {}
    for number, (name, tensor) in enumerate(network.state_dict().items()):
        array = tensor.numpy()
        scales = from_log_steps(np.full(len(array), 4001 if number % 4 else 1000), FINE if number % 4 else COARSE)
        weights[name] = Quantized(np.rint(array * 5).astype(np.int64), scales) if array.ndim == 4 and number > 2 else array
    sqz = Sqz(config, ("a", "b"), weights, stages=(Stage(name="trained", bytes=1, density=1, bits=1, accuracy=1),))
    network = sqz.build()
    return replace(
        sqz,
        probability_calibration=ProbabilityCalibration(temperature=1.5, threshold=0.5),
        self_check=SelfCheck.of(network, config),
        activation_ranges=ActivationRanges.of(network, [(torch.rand(2, 3, 8, 8), torch.zeros(2))]),
        other_sections={"abcd": b"x"},
    )


def sections_of(sqz):
    """Its sections one after another, their texts not coded, so that mutations meet what is in them."""
    sections = container.split_sections(sqz.to_bytes())
    texts = {tag: data if tag in (container.WEIGHTS, "abcd") else coded_text.decode_text(data) for tag, data in sections.items()}
    return SEPARATOR.join(tag.encode() + data for tag, data in texts.items())


def changed(**fields):
    """The same, with other fields of its network in the text."""
    plain = json.dumps({"classes": ["a", "b"], "network": {"name": "report", "classes": 2, **fields}, "resize": ""})
    first, *rest = sections_of(whole_file()).split(SEPARATOR)
    assert first.startswith(b"Netw")
    return SEPARATOR.join((b"Netw" + plain.encode(), *rest))


def read_mended(content):
    """Read, build, check and write again whatever is taken; the digest is put right, since no fuzzer guesses SHA-256."""
    _use(from_bytes(content[:-32] + hashlib.sha256(content[:-32]).digest()))


def read_sections(content):
    """The same for a file of these sections, whose texts are coded here."""
    coded = {}
    for part in content.split(SEPARATOR):
        tag, data = part[:4].decode("latin-1"), part[4:]
        if not tag.isascii():
            continue
        coded[tag] = data if tag in (container.WEIGHTS, "abcd") else coded_text.encode_text(data)
    _use(from_bytes(container.join_sections(coded)))


def _use(sqz):
    network = sqz.build()
    if sqz.self_check:
        sqz.self_check.difference(network, sqz.network)
    # A foreign writer may code or order things in another way, but what it says must survive.
    again = sqz.to_bytes()
    assert from_bytes(again).to_bytes() == again


def read_delta(old, content):
    """What the delta makes of the old file is read, or refused."""
    # As one to the old file: no fuzzer guesses its digest. Whether the result is right, only signed metadata say.
    from_bytes(apply_delta(old, content[:5] + hashlib.sha256(old).digest()[:8] + content[13:]))


@pytest.mark.slow
@pytest.mark.parametrize("count", [FEW, MANY])
def test_no_sqz_file_does_harm(count):
    data = whole_file().to_bytes()
    assert findings(read_mended, [data, data[:-40], b"", b"SQZ\x1a\x01"], count=count, seconds=30, megabytes=400) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [FEW, MANY])
def test_no_content_of_a_sqz_file_does_harm(count):
    bomb = encode_tensors({"x": np.zeros(2_000_000, np.float32)})
    good = sections_of(whole_file())
    hostile = [
        changed(start=10**12),
        changed(stem_width=4096, image_size=1024, base_e=2, incr_e=0, depth=1, pool_before=[1]),
        changed(depth=64, stem_width=64, base_e=64, incr_e=0, squeeze_ratio=1, image_size=1024, pool_before=[]),
        changed(classes=10**18),
        SEPARATOR.join(b"Wght" + bomb if part.startswith(b"Wght") else part for part in good.split(SEPARATOR)),
        good.replace(b"1.5", b"1e-320"),
        good.replace(b'["a","b"]', b'["\\ud800","b"]'),
    ]
    assert findings(read_sections, [good, *hostile], count=count, tokens=TOKENS, seconds=30, megabytes=400) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [FEW, MANY])
def test_no_delta_does_harm(count):
    old, new = whole_file().to_bytes(), whole_file(1).to_bytes()
    delta = delta_between(old, new)
    assert delta is not None
    seeds = [delta, delta_between(old, old), delta[:13], b"SQD\x1a\x01", b""]
    assert findings(partial(read_delta, old), seeds, count=count, seconds=30, megabytes=400) == []


def read_graph(content):
    """As `read_onnx`, up to its first run."""
    from squeezekit.inference.onnx_file import check_onnx, metadata_of

    metadata_of(content)
    check_onnx(content)


def read_onnx_file(content):
    """All of it."""
    from squeezekit.inference.onnx_network import read_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.onnx"
        path.write_bytes(content)
        network, _metadata, config = read_onnx(path)
        network(torch.zeros(1, config.channels, config.image_size, config.image_size))


def graphs():
    """Good and hostile ones."""
    from tests.fixtures import onnx_graphs as made

    loop, shape = made.loop_for_ever(), made.as_many_values_as_a_pixel_says()
    external = made.graph_bytes([made.node("Cast", ["w"], to=1)], [made.external("w", "/etc/passwd")])
    return [
        made.brightness(),
        external,
        loop,
        made.two_branches(),
        shape,
        made.huge_constant(3 * 10**9),
        b"\x3a\xff\xff\xff\xff\x0f",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("count", [FEW, pytest.param(50_000, marks=pytest.mark.long)])
def test_no_graph_does_harm_when_it_is_looked_through(count):
    pytest.importorskip("onnx")
    assert findings(read_graph, graphs(), count=count, seconds=30, refusals=ValueError) == []


@pytest.mark.long
def test_no_onnx_file_does_harm():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert findings(read_onnx_file, graphs(), count=100, seconds=150, megabytes=4096) == []
