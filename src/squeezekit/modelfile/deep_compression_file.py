"""Import of SqueezeNet v1.0 as its authors published it, by Deep Compression (Han et al., 2016, arXiv 1510.00149).

The file, little-endian, names nothing: one uint32 for each layer, the number k of its stored codes; then for each layer 256
float32 entries of a codebook, its biases in float32, k bytes of codes, and half as many of gaps, four bits each, the low half
first. Gap + 1 is the distance to the next stored weight; weights between have code 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.sqz import Sqz
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.registry import network_config
from squeezekit.networks.without_memory import without_memory
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes
from squeezekit.system.shown_text import shortened

Floats = NDArray[np.float32]
ENTRIES = 256
COUNT_BYTES = 4
# With every weight stored, SqueezeNet v1.0 takes 1.9 million.
MAX_BYTES = 1 << 21
CLASS_NAMES = Path(__file__).parent / "imagenet_classes.txt"
# Caffe's means, of bytes, here in the order red, green, blue; bytes are not divided by anything.
MEAN, STD = (123 / 255, 117 / 255, 104 / 255), (1 / 255,)
# In Caffe the last convolution has a border of one pixel: an average over 15 × 15 in place of 13 × 13. That scales logits, which
# a temperature makes up for, and adds at most 0.1 to them, which nothing here does.
TEMPERATURE = round(15**2 / 13**2, 4)


def read_deep_compression(path: Path) -> Sqz:
    """The published file as the content of a `.sqz` file, every weight bit for bit.

    The network takes images of 227 pixels, RGB, with Caffe's normalization, and answers with 1,000 classes. Raises
    SqueezekitError for any other file.
    """
    network = published_network()
    try:
        weights = weights_of(read_outside_bytes(path, MAX_BYTES), network)
    except ValueError as error:
        raise SqueezekitError(
            f"{path}: is not the compressed_SqueezeNet.net of SqueezeNet's authors ({shortened(error, 200)}); get the file again"
        ) from None
    return Sqz(network, imagenet_classes(), weights, probability_calibration=ProbabilityCalibration(temperature=TEMPERATURE))


def published_network() -> NetworkConfig:
    """SqueezeNet v1.0 as its authors trained it."""
    return network_config("squeezenet1_0", image_size=227, mean=MEAN, std=STD)


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes in their usual order, from torchvision (its license lies beside them)."""
    return tuple(CLASS_NAMES.read_text(encoding="utf-8").splitlines())


def weights_of(data: bytes, network: NetworkConfig) -> dict[str, Floats]:
    """The parameters, by name, of a `network` whose layers a file holds in order; the first layer takes RGB in place of BGR.

    Raises ValueError, in half a sentence, for a file of another size and for one that holds what no weights are.
    """
    with without_memory():
        shapes = {name: tuple(tensor.shape) for name, tensor in network.build().state_dict().items()}
    weights = _parsed(data, {name.removesuffix(".weight"): shape for name, shape in shapes.items() if len(shape) == 4})
    first = next(iter(weights))
    weights[first] = np.ascontiguousarray(weights[first][:, ::-1])
    return weights


def _parsed(data: bytes, layers: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    """Weights and biases of `layers`, each with the shape of its weights."""
    counts = _counts(data, layers)
    weights, start = dict[str, Floats](), COUNT_BYTES * len(layers)
    for (name, shape), count in zip(layers.items(), counts, strict=True):
        numbers = np.frombuffer(data, "<f4", ENTRIES + shape[0], start).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise ValueError(f"numbers of layer '{name}' are not finite")
        start += numbers.nbytes
        codes = np.frombuffer(data, np.uint8, count, start)
        gaps = np.frombuffer(data, np.uint8, -(-count // 2), start + count)
        start += len(codes) + len(gaps)
        weights[f"{name}.weight"] = numbers[:ENTRIES][_dense(name, codes, gaps, prod(shape))].reshape(shape)
        weights[f"{name}.bias"] = numbers[ENTRIES:]
    return weights


def _counts(data: bytes, layers: Mapping[str, tuple[int, ...]]) -> list[int]:
    """How many codes each layer stores; together they say how long the file must be."""
    if len(data) < COUNT_BYTES * len(layers):
        raise ValueError(f"it breaks off after {len(data):,} bytes")
    counts: list[int] = np.frombuffer(data, "<u4", len(layers)).tolist()
    size = COUNT_BYTES * len(layers)
    for (name, shape), count in zip(layers.items(), counts, strict=True):
        if count > prod(shape):
            raise ValueError(f"layer '{name}' has {count:,} codes for {prod(shape):,} weights")
        size += 4 * (ENTRIES + shape[0]) + count + -(-count // 2)
    if len(data) != size:
        raise ValueError(f"it has {len(data):,} bytes in place of {size:,}")
    return counts


def _dense(name: str, codes: NDArray[np.uint8], gaps: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The code of every weight of a layer [size]."""
    found = np.zeros(size, np.uint8)
    distances = np.stack((gaps & 15, gaps >> 4), 1).ravel()[: len(codes)].astype(np.int64) + 1
    places = distances.cumsum() - 1
    if len(places) and places[-1] >= size:
        raise ValueError(f"codes of layer '{name}' go on behind its {size:,} weights")
    found[places] = codes
    return found
