"""The named networks."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from squeezekit.networks.alexnet import AlexNetCifarConfig, AlexNetConfig
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.graph import GraphConfig
from squeezekit.networks.mobilenet import MobileNetV2Config
from squeezekit.networks.resnet import ResNet8Config, ResNet20Config
from squeezekit.networks.shufflenet import ShuffleNetV2Config
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.networks.staged import StagedConfig
from squeezekit.networks.stored_names import NETWORKS_OF_0_1, STORED_NETWORKS
from squeezekit.networks.xvel_tiniest import TiniestConfig
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.shown_text import shortened

# `squeezenet-late` is v1.0's Fire modules for 32 × 32.
_V1_0 = {"start": 0, "depth": 8, "pool_before": (1, 4, 8)}
# Few and wide modules on feature maps that shrink early: version 0.1's network for recipe `fast`.
_SQUEEZENET_FAST = {
    "start": 0,
    "depth": 5,
    "base_e": 192,
    "incr_e": 64,
    "squeeze_ratio": 0.375,
    "pool_before": (1, 2, 4),
    "bypass": "simple",
    "stem_width": 48,
}
# Most accurate for the seconds that training takes (docs/log.md); after airbench (Jordan, 2024, arXiv 2404.00498).
_FAST = {
    "block": "plain",
    "stem": "whitened",
    "widths": (64, 128, 256),
    "depths": (2, 2, 2),
    "halved": (True, True, True),
    "last": "max",
}
# The same stages of Fire modules, for 3, 12.5, 44, 90 and 140 million multiply-adds at most: the pretrained networks.
_FIRE = {**_FAST, "block": "fire", "ratio": 0.5}
# Three modules between two poolings: the pretrained networks of 0.1.
_THIRDS = {"start": 0, "depth": 9, "freq": 3, "squeeze_ratio": 0.375, "pool_before": (4, 7), "bypass": "simple", "stem_width": 64}
_WIDE = {"base_e": 256, "incr_e": 128, "squeeze_ratio": 0.5, "share_3x3": 0.75, "pool_before": (3, 6)}
_IMAGENET = {"classes": 1000, "image_size": 224, "stem_stride": 2, "pool_size": 3, "head_relu": True}

NETWORKS: dict[str, tuple[type[NetworkConfig], dict[str, Any]]] = {
    "squeezenet-cifar": (SqueezeNetConfig, {}),
    "squeezenet-late": (SqueezeNetConfig, _V1_0),
    "squeezenet-fast": (SqueezeNetConfig, _SQUEEZENET_FAST),
    "fast": (StagedConfig, _FAST),
    "fire-pico": (StagedConfig, {**_FIRE, "widths": (16, 28, 36), "depths": (1, 2, 2)}),
    "fire-nano": (StagedConfig, {**_FIRE, "widths": (36, 52, 68), "depths": (1, 2, 2)}),
    "fire-tiny": (StagedConfig, {**_FIRE, "widths": (80, 72, 64), "ratio": 1 / 3}),
    "fire-small": (StagedConfig, {**_FIRE, "widths": (80, 120, 136)}),
    "fire-best": (StagedConfig, {**_FIRE, "widths": (112, 152, 184)}),
    "nano": (SqueezeNetConfig, {**_THIRDS, "base_e": 64, "incr_e": 32}),
    "tiny": (SqueezeNetConfig, {**_THIRDS, "base_e": 120, "incr_e": 64}),
    "small": (SqueezeNetConfig, {**_THIRDS, "base_e": 224, "incr_e": 128}),
    "wide": (SqueezeNetConfig, {**_THIRDS, **_WIDE}),
    "squeezenet1_0": (SqueezeNetConfig, {**_V1_0, **_IMAGENET, "stem_kernel": 7}),
    "squeezenet1_1": (SqueezeNetConfig, {**_V1_0, **_IMAGENET, "stem_width": 64, "pool_before": (1, 3, 5)}),
    "staged": (StagedConfig, {}),
    "graph": (GraphConfig, {}),
    "resnet8": (ResNet8Config, {}),
    "resnet20": (ResNet20Config, {}),
    "mobilenetv2_050": (MobileNetV2Config, {}),
    "shufflenetv2_050": (ShuffleNetV2Config, {}),
    "xvel-tiniest": (TiniestConfig, {}),
    "alexnet": (AlexNetConfig, {"classes": 1000, "image_size": 227}),
    "alexnet-cifar": (AlexNetCifarConfig, {}),
}
OURS = frozenset(NETWORKS)


def list_networks() -> list[str]:
    """The names of all networks that can be trained, those registered last."""
    return [*NETWORKS]


def register_network(config_class: type[NetworkConfig], name: str | None = None) -> str:
    """Make a network of one's own known by `name`, by default that of the class's field `name`; returns the name.

    `config_class` is a subclass of `NetworkConfig` whose `build()` returns an `nn.Module`, float [n, channels, h, w] -> logits
    [n, classes]. The name is known in this process, and in processes that import the module that registers it. The same class may
    be registered again, as happens in a notebook. Raises SqueezekitError for a name that is taken or that files could not hold.
    """
    if not (isinstance(config_class, type) and issubclass(config_class, NetworkConfig)):
        raise SqueezekitError(f"register_network: {config_class!r} is not a subclass of NetworkConfig; give one with build()")
    name = name or config_class.model_fields["name"].default
    if not (isinstance(name, str) and re.fullmatch(r"[\w.-]+", name)):
        raise SqueezekitError(f"register_network: '{name}' is no name; use letters, digits, points, hyphens and underscores")
    before = NETWORKS[name][0] if name in NETWORKS else config_class
    again = (before.__module__, before.__qualname__) == (config_class.__module__, config_class.__qualname__)
    if name in OURS or name in STORED_NETWORKS.values() or not again:
        raise SqueezekitError(f"register_network: a network '{name}' exists already; give yours another name")
    if config_class.build is NetworkConfig.build:
        raise SqueezekitError(f"register_network: {config_class.__name__} has no build(); let it return the untrained network")
    NETWORKS[name] = (config_class, {})
    return name


def registered_networks() -> dict[str, type[NetworkConfig]]:
    """What `register_network` has made known in this process, for another process that is to know it too."""
    return {name: config_class for name, (config_class, _fields) in NETWORKS.items() if name not in OURS}


def network_class(name: str) -> type[NetworkConfig]:
    """The class of the configuration of a named network; raises SqueezekitError for an unknown name."""
    if isinstance(name, str) and name in NETWORKS_OF_0_1:
        raise SqueezekitError(f"network '{name}' is called '{NETWORKS_OF_0_1[name]}' now")
    if not isinstance(name, str) or name not in NETWORKS:
        raise SqueezekitError(f"network '{shortened(name)}' is unknown; choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name][0]


def network_config(name: str, **fields: Any) -> NetworkConfig:
    """The configuration of a named network, with some fields changed; raises SqueezekitError for what they cannot be."""
    config_class = network_class(name)
    try:
        return config_class.model_validate({"name": name, **NETWORKS[name][1], **fields})
    except ValidationError as error:
        raise SqueezekitError(f"network '{name}': {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, as half a sentence."""
    problem = error.errors()[0]
    where = problem["loc"]
    # Of a list of numbers, the list; a file may name its fields as it likes.
    place = shortened(".".join(str(part) for part in (where[:-1] if where and isinstance(where[-1], int) else where)))
    theirs = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    message = _IN_OUR_WORDS.get(problem["type"]) or shortened(theirs, 300)
    return f"{place}: {message}" if place else message


# Of pydantic's problems, by their types.
_IN_OUR_WORDS = {"finite_number": "must be a number", "extra_forbidden": "is no field that this version knows"}
