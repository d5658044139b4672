"""The C code of this machine, compiled ahead of time (scripts/build_device.py)."""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache
from pathlib import Path

from ..codec.coder_tables import rate_table, squash_table, stretch_table
from ..system.errors import RunFailed

FOLDER = Path(__file__).parent / "native"
_Size, _Pointer = ctypes.c_size_t, ctypes.c_void_p
_ARGUMENTS: dict[str, list[type]] = {
    "code_bytes": [_Pointer],
    "code_byte_plane": [_Pointer],
    "code_integers": [_Pointer],
    "set_tables": [_Pointer, _Pointer, _Pointer],
    "floats_of_planes": [_Pointer, _Size, _Pointer],
    "floats_of_codebook": [_Pointer, _Size, _Pointer, ctypes.c_int64, ctypes.c_int64, _Pointer],
    "floats_of_integers": [_Pointer, _Size, _Size, _Pointer, _Pointer],
    "all_finite": [_Pointer, _Size],
    "largest_integers": [_Pointer, _Size, _Size, _Pointer],
    "largest_weights": [_Pointer, _Pointer],
    "rounded_weights": [_Pointer, _Pointer, _Pointer, _Pointer, _Pointer],
    "float_convolution": [_Pointer, _Pointer, _Pointer, _Pointer, _Pointer],
    "float_pooling": [_Pointer, _Pointer, _Pointer],
    "float_sum": [_Pointer, _Pointer, _Size, _Pointer],
    "packed_size": [_Pointer],
    "pack": [_Pointer, _Pointer],
    "run": [_Pointer, _Pointer, _Pointer, _Pointer],
}
_RESULTS: dict[str, type] = {"floats_of_codebook": ctypes.c_int, "all_finite": ctypes.c_int, "packed_size": _Size}


def library_path() -> Path:
    """Where the library of this machine would be."""
    return FOLDER / f"device-{sys.platform}-{platform.machine().lower()}.bin"


@cache
def library() -> ctypes.CDLL:
    """The library, with the coder's tables; raises RunFailed on a machine that there is none for."""
    path = library_path()
    try:
        found = ctypes.CDLL(str(path))
    except OSError:
        machine = f"{platform.system()} on {platform.machine()}"
        raise RunFailed(
            f"squeezekit-device runs on 64-bit Linux, on x86-64 and AArch64, and not here, {machine}; install squeezekit"
        ) from None
    for name, arguments in _ARGUMENTS.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, _RESULTS.get(name)
    squash = squash_table()
    tables = [(ctypes.c_int64 * len(table))(*table) for table in (squash, stretch_table(squash), rate_table())]
    found.set_tables(*tables)
    # The library reads them as long as it is there.
    found.tables = tables  # type: ignore[attr-defined]
    return found
