"""Compile all kernels for this machine: `python -m squeezekit.acceleration.compile_kernels`, which training starts by itself."""

from __future__ import annotations

import os
from typing import Any

from squeezekit.acceleration.kernel_cache import kernels_ready, stamp
from squeezekit.system.atomic_io import write_bytes
from squeezekit.system.file_lock import one_at_a_time

# Between them, these networks need every kernel.
NETWORKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("squeezenet-cifar", {"base_e": 8, "incr_e": 8, "stem_width": 8, "depth": 3, "batch_norm": True, "bypass": "simple"}),
    ("squeezenet-cifar", {"base_e": 8, "incr_e": 8, "stem_width": 8, "depth": 2, "batch_norm": True, "pool_size": 3}),
    ("squeezenet-cifar", {"base_e": 8, "incr_e": 8, "stem_width": 8, "depth": 2}),
    ("resnet8", {}),
    ("mobilenetv2_050", {}),
    ("xvel-tiniest", {}),
)


def main() -> None:
    """Return when the kernels are compiled, by this process or by another one."""
    path = stamp()
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(path.with_suffix(".lock")):
        if not kernels_ready():
            compile_all()
            write_bytes(path, b"")


def compile_all() -> None:
    """Take a step with every network in each precision."""
    import torch

    from squeezekit.acceleration.accelerate import accelerate
    from squeezekit.networks.registry import network_config

    torch.set_num_threads(1)
    images, many = (torch.zeros(n, 3, 32, 32).contiguous(memory_format=torch.channels_last) for n in (2, 32))
    for name, fields in NETWORKS:
        network = network_config(name, **fields).build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        accelerate(network, kernels=True)
        for half in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                network.train()(images).float().sum().backward()
                with torch.no_grad():
                    network.eval()(many)


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(19)
    main()
