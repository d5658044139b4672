"""The exported C on emulated processors: compiled by zig's compiler, without a C library, run by QEMU."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.system import atomic_io

BOARD = Path(__file__).parents[1] / "tests" / "fixtures" / "board"
ZIG = [sys.executable, "-m", "ziglang"]
_M = ["-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native"]
# What the compiler is told, and who runs what it makes.
MACHINES = {
    "cortex-m4": (["thumb-freestanding-eabi", "-mcpu=cortex_m4"], ["qemu-system-arm", "-M", "mps2-an386", *_M]),
    "cortex-m7": (["thumb-freestanding-eabi", "-mcpu=cortex_m7"], ["qemu-system-arm", "-M", "mps2-an500", *_M]),
    "aarch64": (["aarch64-freestanding"], ["qemu-aarch64"]),
}


def said(
    files: Mapping[str, str | bytes],
    pictures: NDArray[np.uint8],
    machine: str,
    flags: Sequence[str] = (),
    emulator_flags: Sequence[str] = (),
    timeout_s: float = 600,
) -> list[list[int]]:
    """What the board's program prints for the pictures, uint8 [n, side, side, channels]: a row of numbers for each."""
    numbers = ",".join(map(str, pictures.ravel().tolist()))
    header = f"#define PICTURES {len(pictures)}\nstatic const uint8_t pictures[] = {{{numbers}}};\n"
    target, emulator = MACHINES[machine]
    script = ["-T", str(BOARD / "cortex_m.ld")] if machine.startswith("cortex-m") else []
    kernel = ["-kernel"] if script else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atomic_io.write_folder(folder / "c", {**files, "pictures.h": header})
        sources = (BOARD / "main.c", folder / "c" / "classifier.c")
        objects = [_compiled(folder, source, target, flags) for source in sources]
        program = folder / "program.elf"
        subprocess.run([*ZIG, "ld.lld", *script, *map(str, objects), "-o", str(program)], check=True)
        command = [*emulator, *emulator_flags, *kernel, str(program)]
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        # QEMU writes what programs say to one or the other.
        done = subprocess.run(command, **streams, text=True, check=True, timeout=timeout_s)
    return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]


def _compiled(folder: Path, source: Path, target: Sequence[str], flags: Sequence[str]) -> Path:
    made = folder / f"{source.stem}.o"
    strict = ["-ffreestanding", "-fno-sanitize=all", "-std=c99", "-O2", "-I", str(folder / "c")]
    subprocess.run([*ZIG, "cc", "-target", *target, *strict, *flags, "-c", str(source), "-o", str(made)], check=True)
    return made
