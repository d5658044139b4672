"""What training takes from the machine: a device, a precision, memory."""

from __future__ import annotations

import ctypes
import platform
import re

import torch

from squeezekit.system.errors import SqueezekitError

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def chosen_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where there is one. Raises SqueezekitError for one that cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise SqueezekitError(f"device '{name}' is unknown; choose cpu, cuda or auto")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise SqueezekitError(f"device '{name}' cannot be used ({str(error).splitlines()[0]}); try --device cpu") from None
    return torch.device(name)


def chosen_precision(wanted: str, device: torch.device) -> str:
    """`fp32` or `bf16`; `auto` is bf16 where the device computes in it."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Without instructions for it, bf16 is emulated and ten times slower than fp32. Older versions of torch do not say.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if capabilities.get("avx512_bf16") else "fp32"


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors, by a setting of glibc; elsewhere nothing happens.

    Without it glibc hands the largest activations back to the system at every step and gets them as pages to be
    zeroed: 5 % of the time of a step of `squeezenet-cifar`.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        # Older versions refuse more than 32 MiB.
        if mallopt(M_MMAP_THRESHOLD, 2**30) or mallopt(M_MMAP_THRESHOLD, 2**25):
            mallopt(M_TRIM_THRESHOLD, 2**30)
