"""The named networks."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from squeezekit.networks.alexnet import AlexNetCifarConfig, AlexNetConfig
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.mobilenet import MobileNetV2Config
from squeezekit.networks.resnet import ResNet8Config, ResNet20Config
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.networks.xvel_tiniest import TiniestConfig
from squeezekit.system.errors import SqueezekitError

# `squeezenet-cifar` is R6. Its rows that the report elides, and the place of the dropout, are our reading: the paper's own
# progression. `squeezenet-late` is v1.0's Fire modules for 32 × 32.
_V1_0 = {"start": 0, "depth": 8, "pool_before": (1, 4, 8)}
# Few and wide modules on maps that shrink early: most accurate for the seconds that training takes (docs/LOG.md).
_FAST = {
    "start": 0,
    "depth": 5,
    "base_e": 192,
    "incr_e": 64,
    "squeeze_ratio": 0.375,
    "pool_before": (1, 2, 4),
    "bypass": "simple",
    "stem_width": 48,
}
# Three modules on each map, as wide as a size allows: the networks in the box. `wide` teaches them.
_THIRDS = {"start": 0, "depth": 9, "freq": 3, "squeeze_ratio": 0.375, "pool_before": (4, 7), "bypass": "simple", "stem_width": 64}
_WIDE = {"base_e": 256, "incr_e": 128, "squeeze_ratio": 0.5, "share_3x3": 0.75, "pool_before": (3, 6)}
_IMAGENET = {"classes": 1000, "image_size": 224, "stem_stride": 2, "pool_size": 3, "head_relu": True}

NETWORKS: dict[str, tuple[type[NetworkConfig], dict[str, Any]]] = {
    "squeezenet-cifar": (SqueezeNetConfig, {}),
    "squeezenet-late": (SqueezeNetConfig, _V1_0),
    "fast": (SqueezeNetConfig, _FAST),
    "nano": (SqueezeNetConfig, {**_THIRDS, "base_e": 64, "incr_e": 32}),
    "tiny": (SqueezeNetConfig, {**_THIRDS, "base_e": 120, "incr_e": 64}),
    "small": (SqueezeNetConfig, {**_THIRDS, "base_e": 224, "incr_e": 128}),
    "wide": (SqueezeNetConfig, {**_THIRDS, **_WIDE}),
    "squeezenet1_0": (SqueezeNetConfig, {**_V1_0, **_IMAGENET, "stem_kernel": 7}),
    "squeezenet1_1": (SqueezeNetConfig, {**_V1_0, **_IMAGENET, "stem_width": 64, "pool_before": (1, 3, 5)}),
    "resnet8": (ResNet8Config, {}),
    "resnet20": (ResNet20Config, {}),
    "mobilenetv2_050": (MobileNetV2Config, {}),
    "xvel-tiniest": (TiniestConfig, {}),
    "alexnet": (AlexNetConfig, {"classes": 1000, "image_size": 227}),
    "alexnet-cifar": (AlexNetCifarConfig, {}),
}


def network_class(name: str) -> type[NetworkConfig]:
    """The class of the configuration of a named network; raises SqueezekitError for an unknown name."""
    if not isinstance(name, str) or name not in NETWORKS:
        raise SqueezekitError(f"network '{name}' is unknown; choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name][0]


def network_config(name: str, **fields: Any) -> NetworkConfig:
    """The configuration of a named network, with some fields changed; raises SqueezekitError."""
    config_class = network_class(name)
    try:
        return config_class.model_validate({"name": name, **NETWORKS[name][1], **fields})
    except ValidationError as error:
        raise SqueezekitError(f"network '{name}': {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, as half a sentence."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}" if place else problem["msg"]
