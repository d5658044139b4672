"""Build the compiled coder for the platforms that most people have: python scripts/build_coder.py [OUT]

By zig's C compiler, in the version that constraints.txt names (pip install 'squeezekit[c]' -c constraints.txt); the same source
gives the same bytes on every machine, which a test checks. OUT is the folder src/squeezekit/codec/native unless given.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NATIVE = Path(__file__).parents[1] / "src" / "squeezekit" / "codec" / "native"
FLAGS = ["-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=all", "-ffreestanding", "-fno-builtin", "-g0"]
# Nothing of a C library is used, so that any version of any will do.
LINKED = ["-shared", "-nostdlib", "-fPIC", "-fvisibility=hidden", "-fno-stack-protector", "-Wl,-s"]
# Names as `sys.platform` and `platform.machine()` have them, in lower case.
TARGETS = {
    "linux-x86_64": "x86_64-linux-musl",
    "linux-aarch64": "aarch64-linux-musl",
    "darwin-arm64": "aarch64-macos",
    "darwin-x86_64": "x86_64-macos",
    "win32-amd64": "x86_64-windows-gnu",
}


def build(out: Path) -> None:
    """Compile and link for every platform, in a folder of its own, whose name does not get into the files."""
    for name, target in TARGETS.items():
        with tempfile.TemporaryDirectory() as place:
            shutil.copy(NATIVE / "coder.c", place)
            command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *FLAGS, *LINKED]
            if "macos" in target:
                command += ["-install_name", "coder"]
            subprocess.run([*command, "coder.c", "-o", "coder.bin"], cwd=place, check=True)
            shutil.copyfile(Path(place) / "coder.bin", out / f"coder-{name}.bin")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else NATIVE)
