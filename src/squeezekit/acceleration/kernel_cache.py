"""Whether the kernels are compiled for this machine, and how they come to be, without a training having to wait.

numba compiles for half a minute and keeps what it has made in a folder. A stamp beside that says that all of it is there. Nothing
here imports numba, which takes a second.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from squeezekit.data.decoded_store import cache_folder
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.version import version as own_version

KERNELS = Path(__file__).with_name("kernels.py")


def kernel_folder() -> Path:
    """Where compiled code is kept: NUMBA_CACHE_DIR, or else a folder of squeezekit's cache.

    Raises SqueezekitError for a user without a home.
    """
    return Path(os.environ.get("NUMBA_CACHE_DIR") or cache_folder() / "kernels")


def stamp() -> Path:
    """The file that exists when all kernels are compiled for this processor, by this Python, numba and squeezekit."""
    return kernel_folder() / f"{_key()}.compiled"


def kernels_ready() -> bool:
    """Whether all kernels are compiled for this machine."""
    with suppress(SqueezekitError, OSError):
        return kernels_wanted() and stamp().exists()
    return False


def kernels_wanted() -> bool:
    """SQUEEZEKIT_KERNELS=0 leaves everything to torch's own operations."""
    return os.environ.get("SQUEEZEKIT_KERNELS") != "0"


def compile_in_background() -> None:
    """Have a process of the lowest priority compile the kernels, unless that is done or under way; returns at once.

    It says nothing, goes on when this process ends, and may be killed: then the next call begins anew.
    """
    # Where there is no folder to keep them in, or none that may be looked into, training does without.
    with suppress(SqueezekitError, OSError):
        if kernels_wanted() and not stamp().exists():
            _start()


@cache
def _start() -> subprocess.Popen[bytes] | None:
    """Once a process; of those that several processes start, one compiles and the others wait for it."""
    if getattr(sys, "frozen", False) or not sys.executable:
        return None
    # -P: no module of the working directory takes the place of one of Python's.
    command = [sys.executable, "-P", "-m", "squeezekit.acceleration.compile_kernels"]
    nowhere = subprocess.DEVNULL
    try:
        # A new session, so that Ctrl-C does not reach it.
        return subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True)
    except OSError:
        # Without kernels training is slower, not wrong.
        return None


@cache
def _key() -> str:
    """Of all that numba looks at before it takes a compiled kernel from its cache."""
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = ""
    about = (own_version(), numba, sys.version, _processor(), str(KERNELS), KERNELS.read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor's name and, where the system tells, what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    relevant = ("model name", "flags", "CPU part", "Features")
    return "\n".join(sorted({line for line in lines if line.startswith(relevant)}))
