"""Which tensors kernels take, and as what: channels-last tensors as arrays that share their memory."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Where nothing is learnt, calling a kernel for fewer images costs more than it saves.
FEWEST_IMAGES = 32
# As what NumPy sees the values.
STORED = {torch.float64: torch.float64, torch.float32: torch.float32, torch.bfloat16: torch.uint16}
_state = {"kernels": False}


def use_kernels(on: bool = True) -> None:
    """Let kernels compute in this process from now on, or nothing but torch's own operations."""
    _state["kernels"] = on


def fit(*tensors: Tensor) -> bool:
    """Whether kernels can take them: plain tensors of one type in memory, pixel by pixel, that nobody is tracing.

    Where something is learnt, tensors without values always fit: several processes must agree, and one may have no part of a
    batch.
    """
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    if not _state["kernels"] or traced or any(type(x) is not Tensor for x in tensors):
        return False
    enough = torch.is_grad_enabled() or len(tensors[0]) >= FEWEST_IMAGES
    return enough and all(
        x.device.type == "cpu"
        and x.dtype in STORED
        and x.dtype == tensors[0].dtype
        and x.ndim == 4
        and (x.numel() == 0 or x.is_contiguous(memory_format=torch.channels_last))
        for x in tensors
    )


def pixels(x: Tensor) -> NDArray[Any]:
    """[n, c, h, w] as [n, h, w, c]."""
    array: NDArray[Any] = x.detach().permute(0, 2, 3, 1).view(STORED.get(x.dtype, x.dtype)).numpy()
    return array


def rows(x: Tensor) -> NDArray[Any]:
    """[n, c, h, w] as [n · h · w, c]."""
    return pixels(x).reshape(-1, x.shape[1])


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialized tensor that fits."""
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


def working(x: Tensor) -> Any:
    """What kernels compute in."""
    return np.float64 if x.dtype == torch.float64 else np.float32


@cache
def kernels() -> Any:
    """The module of that name, imported when first needed, since numba takes a second."""
    return import_module("squeezekit.acceleration.kernels")


@cache
def threads_can_be_shared() -> bool:
    """Whether numba finds the OpenMP library that its kernels and torch share."""
    try:
        import_module("numba.np.ufunc.omppool")
    except ImportError:
        return False
    return True


def threads() -> int:
    """How many threads kernels may use: as many as torch."""
    import numba

    torchs = torch.get_num_threads()
    wanted = min(torchs, int(numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if numba.get_num_threads() != wanted:
        numba.set_num_threads(wanted)
    if torch.get_num_threads() != torchs:
        # numba, asked for the first time, has set OpenMP's number, which is torch's, to that of the processors.
        torch.set_num_threads(torchs)
    return wanted
