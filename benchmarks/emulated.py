"""The exported C on emulated processors: compiled by zig's compiler, without a C library, run by QEMU."""

from __future__ import annotations

import struct
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
_RVV = "rv64,v=true,vlen=128,vext_spec=v1.0"
# What the compiler is told, and who runs what it makes.
MACHINES = {
    "cortex-m4": (["thumb-freestanding-eabi", "-mcpu=cortex_m4"], ["qemu-system-arm", "-M", "mps2-an386", *_M]),
    "cortex-m7": (["thumb-freestanding-eabi", "-mcpu=cortex_m7"], ["qemu-system-arm", "-M", "mps2-an500", *_M]),
    "cortex-m55": (["thumb-freestanding-eabi", "-mcpu=cortex_m55+mve"], ["qemu-system-arm", "-M", "mps3-an547", *_M]),
    "aarch64": (["aarch64-freestanding"], ["qemu-aarch64"]),
    "aarch64-dotprod": (["aarch64-freestanding", "-mcpu=generic+dotprod"], ["qemu-aarch64", "-cpu", "max"]),
    "aarch64-i8mm": (["aarch64-freestanding", "-mcpu=generic+dotprod+i8mm"], ["qemu-aarch64", "-cpu", "max"]),
    "riscv64": (["riscv64-freestanding", "-mcmodel=medany"], ["qemu-riscv64"]),
    "riscv64-v": (["riscv64-freestanding", "-mcmodel=medany", "-mcpu=generic_rv64+m+a+c+v"], ["qemu-riscv64", "-cpu", _RVV]),
}
# Boards whose clock counts instructions, in place of those that only run programs.
_VIRT = ["qemu-system-aarch64", "-M", "virt", "-net", "none", *_M, "-cpu"]
_RISCV = ["qemu-system-riscv64", "-M", "virt", "-bios", "none", "-net", "none", *_M, "-cpu"]
COUNTING = {
    "aarch64": [*_VIRT, "cortex-a72"],
    "aarch64-dotprod": [*_VIRT, "max"],
    "aarch64-i8mm": [*_VIRT, "max"],
    "riscv64": [*_RISCV, "rv64"],
    "riscv64-v": [*_RISCV, _RVV],
}
# Where the boards have memory.
SCRIPTS = {"cortex-m4": "cortex_m.ld", "cortex-m7": "cortex_m.ld", "cortex-m55": "cortex_m55.ld"}
# Instructions in a tick of the timer.
PER_TICK = {"cortex-m4": 40, "cortex-m7": 40, "cortex-m55": 31.25, **dict.fromkeys(COUNTING, 16), "riscv64": 1, "riscv64-v": 1}
_OF_RISCV = dict.fromkeys(("riscv64", "riscv64-v"), "virt_riscv.ld")
COUNTING_SCRIPTS = {**SCRIPTS, **dict.fromkeys(COUNTING, "virt.ld"), **_OF_RISCV}


def said(
    files: Mapping[str, str | bytes], pictures: NDArray[np.uint8], machine: str, *, timeout_s: float = 600
) -> list[list[int]]:
    """The logits that the board's program prints for the pictures, uint8 [n, side, side, channels]: a row for each."""
    target, emulator = MACHINES[machine]
    with tempfile.TemporaryDirectory() as folder:
        program, _ = _linked(Path(folder), files, pictures, target, SCRIPTS.get(machine))
        return _printed(emulator, program, machine in SCRIPTS, timeout_s)


def counted(
    files: Mapping[str, str | bytes], picture: NDArray[np.uint8], machine: str, flags: Sequence[str], *, timeout_s: float = 600
) -> dict[str, int]:
    """Instructions of a picture and of the start; bytes of the library's sections."""
    target, emulator = MACHINES[machine]
    script = COUNTING_SCRIPTS[machine]
    with tempfile.TemporaryDirectory() as folder:
        program, library = _linked(Path(folder), files, picture[None], target, script, ["-DCOUNTED", *flags])
        command = [*COUNTING.get(machine, emulator), "-icount", "shift=0"]
        (start, run, *_), *_ = _printed(command, program, True, timeout_s)
        sections = section_bytes(library.read_bytes())
    per_tick = PER_TICK[machine]
    return {"instructions": round(per_tick * run), "start": round(per_tick * start), **sections}


def section_bytes(elf: bytes) -> dict[str, int]:
    """Bytes of `code`, `constants` and `variables` of an object file; tables of unwinding, which no C needs, do not count."""
    wide = elf[4] == 2
    (table,) = struct.unpack_from("<Q", elf, 40) if wide else struct.unpack_from("<I", elf, 32)
    size, count, names = struct.unpack_from("<3H", elf, 58 if wide else 46)
    headers = [struct.unpack_from("<2I4Q" if wide else "<6I", elf, table + i * size) for i in range(count)]
    found = {"code": 0, "constants": 0, "variables": 0}
    for name, _kind, flags, _address, _offset, length in headers:
        begin = headers[names][4] + name
        unwinding = elf[begin : elf.index(b"\0", begin)].startswith((b".ARM.ex", b".eh_frame", b".rel"))
        if flags & 2 and not unwinding:
            found["code" if flags & 4 else "variables" if flags & 1 else "constants"] += length
    return found


def _linked(
    folder: Path,
    files: Mapping[str, str | bytes],
    pictures: NDArray[np.uint8],
    target: Sequence[str],
    script: str | None,
    flags: Sequence[str] = (),
) -> tuple[Path, Path]:
    """The program, and the object file of the library in it."""
    numbers = ",".join(map(str, pictures.ravel().tolist()))
    header = f"#define PICTURES {len(pictures)}\nstatic const uint8_t pictures[] = {{{numbers}}};\n"
    atomic_io.write_folder(folder / "c", {**files, "pictures.h": header})
    board, library = (_compiled(folder, source, target, flags) for source in (BOARD / "main.c", folder / "c" / "classifier.c"))
    program = folder / "program.elf"
    script_flags = ["-T", str(BOARD / script)] if script else []
    subprocess.run([*ZIG, "ld.lld", *script_flags, str(board), str(library), "-o", str(program)], check=True)
    return program, library


def _printed(emulator: Sequence[str], program: Path, on_a_board: bool, timeout_s: float) -> list[list[int]]:
    command = [*emulator, *(["-kernel"] if on_a_board else []), str(program)]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    # QEMU writes what programs say to one or the other.
    done = subprocess.run(command, **streams, text=True, check=True, timeout=timeout_s)
    return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]


def _compiled(folder: Path, source: Path, target: Sequence[str], flags: Sequence[str]) -> Path:
    made = folder / f"{source.stem}.o"
    strict = ["-ffreestanding", "-fno-sanitize=all", "-std=c99", "-O2", "-I", str(folder / "c")]
    subprocess.run([*ZIG, "cc", "-target", *target, *strict, *flags, "-c", str(source), "-o", str(made)], check=True)
    return made
