"""What learns: plain PyTorch modules, each built from a configuration that files can hold."""

from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.fire import Fire
from squeezekit.networks.registry import NETWORKS, list_networks, network_config, register_network
from squeezekit.networks.squeezenet import SqueezeNet, SqueezeNetConfig

__all__ = [
    "NETWORKS",
    "Fire",
    "NetworkConfig",
    "SqueezeNet",
    "SqueezeNetConfig",
    "list_networks",
    "network_config",
    "register_network",
]
