"""Files of version 1 as they were first written: every later squeezekit reads them, and writes the same bytes again.

`python -m tests.test_golden_files` writes what is missing; a file that is there is never written again.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from squeezekit.codec.coder_tables import FINE
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import from_log_steps, to_log_steps
from squeezekit.codec.tensors import decode_tensors, encode_tensors
from squeezekit.modelfile.check_image import TOLERANCE
from squeezekit.modelfile.coded_text import encode_text
from squeezekit.modelfile.delta import apply_delta, delta_between
from squeezekit.modelfile.inspection import inspect
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.modelfile.sqz import Sqz, Stage, read_sqz
from squeezekit.networks import network_config
from squeezekit.quantization.qat import QuantizedWeight
from squeezekit.quantization.quantized_arrays import quantized_arrays
from squeezekit.quantization.weight_layers import weight_layers

GOLDEN = Path(__file__).parent / "modelfile" / "golden"
TENSORS, NETWORK = GOLDEN / "tensors-1.bin", GOLDEN / "network-1.sqz"
DELTA = GOLDEN / "delta-1.sqd"
# What came later in version 1: scales in finer steps.
NANO = GOLDEN / "cifar10-nano-0.1.sqz"
FINER, FINER_DELTA = GOLDEN / "network-1-fine.sqz", GOLDEN / "delta-1-fine.sqd"


def arrays():
    """Every encoding and dtype, from a formula rather than a generator that may change."""
    # Whole numbers all the way: sines are not the same on every processor.
    wave = (np.arange(1500, dtype=np.int64) ** 3 * 40503 % 65536 - 32768) / 32768
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, np.finfo(np.float32).max], np.float32)
    small = np.rint(3 * wave[:960] ** 3).astype(np.int64).reshape(8, 20, 3, 2)
    return {
        "plain.double": wave[:300].copy(),
        "plain.float": wave[:600].astype(np.float32).reshape(20, 30),
        "plain.half": wave[:100].astype(np.float16),
        "special": special,
        "codebook": np.array([0.3, -1.7, 0.0, 2.5], np.float32)[np.rint(1.5 + 1.5 * wave).astype(np.int64)],
        "grid": (np.rint(4 * wave).astype(np.float32) * np.float32(0.037)).reshape(30, 50),
        "rows": Quantized(small, from_log_steps(np.arange(900, 980, 10))),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "ünïcode": np.zeros(5, np.float32),
    }


def test_a_pretrained_network_of_0_1_answers_as_it_did():
    found = inspect(NANO)
    assert found.self_check is True and found.network.name == "nano" and NANO.stat().st_size == 32_649
    assert found.provenance.recipe["optimizer"] == "muon" and found.provenance.accuracy["test"] == 0.8715
    assert read_sqz(NANO).to_bytes() == NANO.read_bytes()


def plain(tensors):
    return {name: part.dequantize() if isinstance(part, Quantized) else part for name, part in tensors.items()}


def test_tensors_of_version_1():
    data = TENSORS.read_bytes()
    assert encode_tensors(arrays()) == data
    found = decode_tensors(data)
    for name, array in plain(arrays()).items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        assert found[name].tobytes() == array.tobytes()
    assert list(found) == list(arrays())


def test_a_network_of_version_1():
    file = read_sqz(NETWORK)
    assert file.to_bytes() == NETWORK.read_bytes()
    assert file.classes == ("no", "perhaps", "yes") and file.stages[-1].name == "golden"
    assert file.other_sections == {"xtra": b"for a later reader"}
    assert file.probability_calibration == ProbabilityCalibration(temperature=1.5, threshold=0.4)
    assert file.self_check.difference(file.build(), file.network) < TOLERANCE


def network_file():
    config = network_config("squeezenet-cifar", base_e=8, incr_e=8, stem_width=8, depth=3, classes=3, dropout=0.0)
    network = config.build().eval()
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(torch.sin(torch.arange(parameter.numel()) ** 1.3 + number).view(parameter.shape) / 5)
    quantized = []
    for layer in weight_layers(network):
        latent = layer.weight.detach() / 0.05
        quantized.append(
            QuantizedWeight.from_quantized(layer.weight, torch.full((layer.out_channels,), 0.05), latent.round(), latent)
        )
    file = Sqz(
        config,
        ("no", "perhaps", "yes"),
        quantized_arrays(network, quantized),
        stages=(Stage(name="golden", bytes=1, density=0.5, bits=2.5, accuracy=0.75),),
        probability_calibration=ProbabilityCalibration(temperature=1.5, threshold=0.4),
        other_sections={"xtra": b"for a later reader"},
    )
    return Sqz(**{**vars(file), "self_check": SelfCheck.of(file.build(), config)})


def next_network():
    """Of the network above, with something changed in every way that a delta has."""
    file = read_sqz(NETWORK)
    weights = dict(file.weights)
    for number, (name, part) in enumerate(weights.items()):
        if isinstance(part, Quantized) and number % 3:
            moved = np.arange(part.integers.size).reshape(part.shape) ** 2 * 40503 % 65536 < 3000
            scales = part.scales if number % 4 else from_log_steps(to_log_steps(part.scales) + 1)
            weights[name] = Quantized(part.integers + moved, scales)
        elif not isinstance(part, Quantized) and number % 4 == 1:
            weights[name] = part[::-1].copy() if number % 8 == 1 else np.float32(1.25) * part
    others = {"xtra": b"for a much later reader", "news": encode_text(b"a text that was not there before")}
    stages = (*file.stages, Stage(name="after golden", bytes=2, density=0.5, bits=2.5, accuracy=0.75))
    return replace(file, weights=weights, stages=stages, probability_calibration=None, other_sections=others)


def test_a_delta_of_version_1():
    old, new = NETWORK.read_bytes(), next_network().to_bytes()
    assert delta_between(old, new) == DELTA.read_bytes() and apply_delta(old, DELTA.read_bytes()) == new


def finer_network():
    """The first one with its scales moved by a step or two of 64 to a factor of two, those of every third filter left."""
    file = read_sqz(NETWORK)
    weights = dict(file.weights)
    for name, part in file.weights.items():
        if isinstance(part, Quantized):
            exponents = to_log_steps(part.scales, FINE) + np.arange(len(part.scales)) % 3
            weights[name] = Quantized(part.integers, from_log_steps(exponents, FINE))
    return replace(file, weights=weights)


def test_finer_scales_of_version_1():
    file = read_sqz(FINER)
    assert file.to_bytes() == FINER.read_bytes() == finer_network().to_bytes()
    old, new = NETWORK.read_bytes(), FINER.read_bytes()
    assert delta_between(old, new) == FINER_DELTA.read_bytes() and apply_delta(old, FINER_DELTA.read_bytes()) == new


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for path, make in (
        (TENSORS, lambda: encode_tensors(arrays())),
        (NETWORK, lambda: network_file().to_bytes()),
        (DELTA, lambda: delta_between(NETWORK.read_bytes(), next_network().to_bytes())),
        (FINER, lambda: finer_network().to_bytes()),
        (FINER_DELTA, lambda: delta_between(NETWORK.read_bytes(), FINER.read_bytes())),
    ):
        if not path.exists():
            path.write_bytes(make())
