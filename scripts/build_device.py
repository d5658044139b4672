"""Build the C library of devices for Linux on x86-64 and AArch64: python scripts/build_device.py [OUT]

By zig's C compiler, in the version that constraints.txt names (pip install 'squeezekit[c]' -c constraints.txt); the same source
gives the same bytes on every machine, which a test checks. OUT is the folder src/squeezekit/device/native unless given.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NATIVE = Path(__file__).parents[1] / "src" / "squeezekit" / "device" / "native"
SOURCES = ("../../codec/native/coder.c", "device.c")
# Without contraction, a product that is added to is rounded first, as NumPy does.
FLAGS = ["-std=gnu99", "-O3", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fno-sanitize=all", "-g0"]
# Nothing of a C library is used, so that any version of any will do.
FREE = ["-ffreestanding", "-fno-builtin", "-nostdlib", "-fno-stack-protector"]
LINKED = ["-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-s", "-Wl,-z,defs"]
# Names as `sys.platform` and `platform.machine()` have them.
TARGETS = {"linux-x86_64": "x86_64-linux-musl", "linux-aarch64": "aarch64-linux-musl"}


def build(out: Path) -> None:
    """Compile and link for every platform; names of folders do not get into the files."""
    for name, target in TARGETS.items():
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *FLAGS, *FREE, *LINKED, *SOURCES]
        subprocess.run([*command, "-o", str((out / f"device-{name}.bin").resolve())], cwd=NATIVE, check=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else NATIVE)
