"""What learns: the Fire module, the SqueezeNet family from its metaparameters."""

from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.fire import Fire
from squeezekit.networks.registry import NETWORKS, network_config
from squeezekit.networks.squeezenet import SqueezeNet, SqueezeNetConfig

__all__ = ["NETWORKS", "Fire", "NetworkConfig", "SqueezeNet", "SqueezeNetConfig", "network_config"]
