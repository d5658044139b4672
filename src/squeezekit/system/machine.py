"""What machine this is: its processor's name, its memory. Nothing here needs a package."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# What a container may have, in Linux.
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def processor_name() -> str:
    """The processor's name as its maker writes it, or the architecture where the system does not tell."""
    name = ""
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.*)", CPU_INFO.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        name = found[1].strip() if found else ""
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        with suppress(OSError, subprocess.SubprocessError):
            name = subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    return name or platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """Bytes of memory that this process may use: the machine's or a container's; None where the system does not tell."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        # Windows has no sysconf.
        return None
    with suppress(OSError, ValueError):
        found = min(found, int(MEMORY_LIMIT.read_text(encoding="ascii")))
    return found
