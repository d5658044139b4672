"""The inner loops of the coder, compiled: ahead of time where `native/` has this platform, else by numba on the first call.

numba needs ten seconds for that after every installation, and nobody should wait so long for a file of 30 kB. The Python
functions define every bit; `native/coder.c` says the same in C, on the same arrays. SQUEEZEKIT_CODER=numba in the environment
asks for numba.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])
FOLDER = Path(__file__).parent / "native"


def _loaded() -> ctypes.CDLL | None:
    path = FOLDER / f"coder-{sys.platform}-{platform.machine().lower()}.bin"
    if os.environ.get("SQUEEZEKIT_CODER") == "numba" or not path.exists():
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        # A system that loads no libraries from there.
        return None


_LIBRARY = _loaded()


def inlined(function: Function) -> Function:
    """A part of a loop; where the loops are compiled ahead of time, it stays the definition that it is."""
    return function if _LIBRARY else _by_numba(function, inline="always")


def loop(function: Function) -> Function:
    """A loop that Python calls; `__wrapped__` is its definition."""
    if not _LIBRARY:
        return _by_numba(function)
    native = getattr(_LIBRARY, function.__name__)
    native.restype = None
    return update_wrapper(_Native(native), function)  # type: ignore[return-value]


def share_tables(*tables: Any) -> None:
    """Let the compiled loops read the same tables, int64, which must stay where they are."""
    if _LIBRARY:
        _LIBRARY.set_tables(*(ctypes.c_void_p(table.ctypes.data) for table in tables))


def _by_numba(function: Function, **options: Any) -> Function:
    from squeezekit.acceleration.compiled_code import compiled

    return compiled(**options)(function)


class _Native:
    """Calls a C function with a structure of 64-bit words: of each array its address and shape, each integer."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def __call__(self, *arguments: Any) -> None:
        arrays, copies = list[Any](), list[tuple[Any, Any]]()
        for argument in _leaves(arguments):
            array = argument
            if isinstance(array, np.ndarray):
                if array.dtype not in (np.int64, np.uint8):
                    raise TypeError(f"arrays must be int64 or uint8, not {array.dtype}")
                if not (array.flags.c_contiguous and array.flags.writeable):
                    given, array = array, np.array(array, order="C")
                    copies.append((given, array))
            arrays.append(array)
        values = next((array for array in arrays if isinstance(array, np.ndarray) and array.ndim == 3), None)
        if values is not None:
            # Room for averages of each column and channel.
            arrays += [np.empty(values.shape[1] * values.shape[2], np.int64), np.empty(values.shape[1], np.int64)]
        words = [word for array in arrays for word in _words(array)]
        self._native((ctypes.c_int64 * len(words))(*words))
        for given, array in copies:
            if given.flags.writeable:
                given[...] = array


def _leaves(argument: Any) -> Iterator[Any]:
    if isinstance(argument, tuple):
        for part in argument:
            yield from _leaves(part)
    else:
        yield argument


def _words(argument: Any) -> tuple[int, ...]:
    return (argument.ctypes.data, *argument.shape) if isinstance(argument, np.ndarray) else (int(argument),)
