"""Build the WebAssembly module of exported pages: python scripts/build_page.py [OUT]

By zig's C compiler, in the version that constraints.txt names (pip install 'squeezekit[c]' -c constraints.txt); the same source
gives the same bytes on every machine, which a test checks. OUT is src/squeezekit/export/html/page/page.wasm unless given.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "src" / "squeezekit" / "export" / "html" / "page"
FLAGS = ["-std=gnu99", "-O3", "-Wall", "-Wextra", "-Werror", "-fno-sanitize=all", "-ffreestanding", "-fno-builtin", "-g0"]
# What every browser of the last years has.
FEATURES = ["-msimd128", "-mbulk-memory"]
LINKED = ["-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=65536"]


def build(out: Path) -> None:
    """Compile and link; names of folders do not get into the module."""
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding", *FLAGS, *FEATURES, *LINKED]
    subprocess.run([*command, "page.c", "-o", str(out.resolve())], cwd=PAGE, check=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE / "page.wasm")
