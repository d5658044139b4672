"""The C code on other machines: compiled by `zig cc`, run by emulators, with the same bits."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from squeezekit.export.c.source import source_of
from squeezekit.system import atomic_io
from tests.fixtures.exported import STRICT, answers, pictures_like, processor_has, reference, small, thinned

BOARD = Path(__file__).parents[2] / "fixtures" / "board"
ZIG = [sys.executable, "-m", "ziglang"]
M_BOARD = ["-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel"]
RVV = ["riscv64-freestanding", "-mcpu=generic_rv64+m+a+c+v"]
# Target and processor for the compiler; what runs the program.
MACHINES = {
    "cortex-m4": (["thumb-freestanding-eabi", "-mcpu=cortex_m4"], ["qemu-system-arm", "-M", "mps2-an386", *M_BOARD]),
    "cortex-m7": (["thumb-freestanding-eabi", "-mcpu=cortex_m7"], ["qemu-system-arm", "-M", "mps2-an500", *M_BOARD]),
    "cortex-m55": (["thumb-freestanding-eabi", "-mcpu=cortex_m55+mve"], ["qemu-system-arm", "-M", "mps3-an547", *M_BOARD]),
    "arm": (["arm-freestanding-eabi", "-mcpu=cortex_a15"], ["qemu-arm"]),
    "aarch64": (["aarch64-freestanding"], ["qemu-aarch64"]),
    "aarch64-dotprod": (["aarch64-freestanding", "-mcpu=generic+dotprod"], ["qemu-aarch64", "-cpu", "max"]),
    "aarch64-i8mm": (["aarch64-freestanding", "-mcpu=generic+dotprod+i8mm"], ["qemu-aarch64", "-cpu", "max"]),
    "riscv64": (["riscv64-freestanding"], ["qemu-riscv64"]),
    "riscv64-v": (RVV, ["qemu-riscv64", "-cpu", "rv64,v=true,vext_spec=v1.0,vlen=128"]),
    "riscv64-v, of 512 bits": (RVV, ["qemu-riscv64", "-cpu", "rv64,v=true,vext_spec=v1.0,vlen=512"]),
}
SCRIPTS = {"cortex-m4": "cortex_m.ld", "cortex-m7": "cortex_m.ld", "cortex-m55": "cortex_m55.ld"}
# Instructions of products.c's own ways, as two halves of a word, and which of their bits are fixed.
INSTRUCTIONS = {
    "cortex-m4": ((0xFB20, 0x0000), (0xFFF0, 0x00F0)),  # SMLAD
    "cortex-m7": ((0xFB20, 0x0000), (0xFFF0, 0x00F0)),
    "cortex-m55": ((0xFEF0, 0x0F20), (0xFFF1, 0x1F31)),  # VMLADAVA.U8
    "aarch64": ((0x6800, 0x6E60), (0xFC00, 0xFFFF)),  # UADALP
    "aarch64-dotprod": ((0x9400, 0x6E80), (0xFC00, 0xFFE0)),  # UDOT
    "aarch64-i8mm": ((0x9C00, 0x4E80), (0xFC00, 0xFFE0)),  # USDOT
    "riscv64-v": ((0x2057, 0xEA00), (0x707F, 0xFE00)),  # VWMULSU.VV
}
needs_zig = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="not installed; pip install 'squeezekit[c]'")
pytestmark = [needs_zig, pytest.mark.slow]


def compiled(folder, sources, target, *flags):
    """Object files; nothing of a C library is needed."""
    objects = []
    for source in sources:
        made = folder / f"{source.stem}-{target[0]}.o"
        command = [*ZIG, "cc", "-target", *target, *STRICT, "-O2", *flags, "-I", folder, "-c", source, "-o", made]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        objects.append(made)
    return objects


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Networks as folders, with a header of pictures; what they have to answer."""
    made = {}
    for name, stored in (("depthwise", "coded"), ("mirrored", "dense"), ("squeezed", "sparse")):
        model, plan = small(name)
        plan = thinned(plan) if stored == "sparse" else plan
        pixels = pictures_like(model.config, 4)
        numbers = ",".join(map(str, pixels.ravel().tolist()))
        header = f"#define PICTURES {len(pixels)}\nstatic const uint8_t pictures[] = {{{numbers}}};\n"
        folder = tmp_path_factory.mktemp("c") / "c"
        atomic_io.write_folder(folder, {**source_of(plan, model, store_weights=stored).files, "pictures.h": header})
        made[name] = (folder, pixels, reference(plan, pixels))
    return made


@pytest.mark.parametrize("machine", MACHINES)
def test_another_machine_gives_the_same_bits(machine, subjects):
    target, emulator = MACHINES[machine]
    if not shutil.which(emulator[0]):
        pytest.skip(f"{emulator[0]} is not installed")
    for folder, _, expected in subjects.values():
        objects = compiled(folder, [BOARD / "main.c", folder / "classifier.c"], target, "-ffreestanding", "-fno-sanitize=all")
        if machine in INSTRUCTIONS and ".sparse = 1" not in (folder / "classifier.c").read_text():
            assert contains(objects[1].read_bytes(), *INSTRUCTIONS[machine])
        script = ["-T", BOARD / SCRIPTS[machine]] if machine in SCRIPTS else []
        program = folder / f"{machine}.elf"
        subprocess.run(list(map(str, [*ZIG, "ld.lld", *script, *objects, "-o", program])), check=True)
        # Emulators write what programs say to one or the other.
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run([*emulator, str(program)], **streams, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout
        assert np.array_equal([list(map(int, line.split())) for line in done.stdout.splitlines()], expected)


@pytest.mark.skipif(not shutil.which("qemu-aarch64"), reason="qemu-aarch64 is not installed")
def test_what_runs_on_any_aarch64_asks_for_dot_products(subjects, tmp_path):
    udot, fixed = 0x6E809400, 0xFFE0FC00
    for folder, pixels, expected in subjects.values():
        program = tmp_path / "classify"
        command = [*ZIG, "cc", "-target", "aarch64-linux-musl", "-static", *STRICT, "-O2", "-fno-sanitize=all"]
        subprocess.run([*command, folder / "main.c", folder / "classifier.c", "-o", program], check=True)
        executed = {}
        for processor in ("cortex-a57", "cortex-a76"):
            log = tmp_path / processor
            emulator = ["qemu-aarch64", "-cpu", processor, "-d", "in_asm", "-D", str(log)]
            assert np.array_equal(answers(program, pixels, *emulator)[1], expected)
            words = re.findall(r"^0x[0-9a-f]+:\s+([0-9a-f]{8})\s", log.read_text(), re.MULTILINE)
            executed[processor] = sum(int(word, 16) & fixed == udot for word in words)
        packed = ".sparse = 1" not in (folder / "classifier.c").read_text()
        assert executed["cortex-a57"] == 0 and (executed["cortex-a76"] > 0) == packed


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("qemu-aarch64_be"), reason="qemu-aarch64_be is not installed")
def test_dot_products_are_for_one_order_of_bytes(subjects, tmp_path):
    """Without vectors that clang makes by itself, which are wrong on a big-endian AArch64."""
    flags = [*STRICT, "-O2", "-fno-vectorize", "-fno-slp-vectorize", "-fno-sanitize=all"]
    for folder, pixels, expected in subjects.values():
        program = tmp_path / "classify"
        command = [*ZIG, "cc", "-target", "aarch64_be-linux-musl", "-static", *flags]
        subprocess.run([*command, folder / "main.c", folder / "classifier.c", "-o", program], check=True)
        assert np.array_equal(answers(program, pixels, "qemu-aarch64_be", "-cpu", "max")[1], expected)


@pytest.mark.parametrize(("stored", "most"), [("dense", 5_000), ("sparse", 5_000), ("coded", 8_000)])
def test_the_code_for_a_cortex_m4_is_small(stored, most, tmp_path):
    spec = importlib.util.spec_from_file_location("emulated", Path(__file__).parents[3] / "benchmarks" / "emulated.py")
    emulated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emulated)
    model, plan = small("all at once")
    atomic_io.write_folder(tmp_path / "c", source_of(plan, model, store_weights=stored).files)
    (made,) = compiled(tmp_path / "c", [tmp_path / "c" / "classifier.c"], MACHINES["cortex-m4"][0], "-Os", "-ffreestanding")
    found = emulated.section_bytes(made.read_bytes())
    assert 2_000 < found["code"] <= most and found["constants"] > plan.weights / 4


def contains(program, halves, fixed):
    """Whether there is an instruction of these bits."""
    words = np.frombuffer(program[: len(program) // 2 * 2], "<u2")
    return bool(((words[:-1] & fixed[0] == halves[0]) & (words[1:] & fixed[1] == halves[1])).any())


@pytest.mark.parametrize("processor", ["x86_64", "x86_64_v3"])
def test_zig_gives_the_same_bits_on_this_architecture(processor, subjects):
    if not shutil.which("gcc"):
        pytest.skip("gcc, which links, is not installed")
    if processor == "x86_64_v3" and not processor_has("avx2"):
        pytest.skip("this processor has no AVX2")
    for folder, pixels, expected in subjects.values():
        target = ["x86_64-linux-gnu", f"-mcpu={processor}"]
        objects = compiled(folder, [folder / "classifier.c"], target, "-fno-sanitize=all", "-O3")
        program = folder / "classify"
        subprocess.run(["gcc", str(folder / "main.c"), *map(str, objects), "-o", str(program)], check=True)
        assert np.array_equal(answers(program, pixels)[1], expected)


def test_webassembly_is_a_module_without_imports(subjects):
    for folder, _, _ in subjects.values():
        objects = compiled(folder, [folder / "classifier.c"], ["wasm32-freestanding"], "-ffreestanding", "-fno-builtin")
        program = folder / "classifier.wasm"
        exports = [f"--export=classifier_{name}" for name in ("start", "run", "best")]
        subprocess.run(list(map(str, [*ZIG, "wasm-ld", "--no-entry", *exports, *objects, "-o", program])), check=True)
        content = program.read_bytes()
        # Its sections: none is that of imports, number 2.
        position, sections = 8, []
        while position < len(content):
            sections.append(content[position])
            position, size = leb128(content, position + 1)
            position += size
        assert content.startswith(b"\0asm") and 2 not in sections and b"classifier_run" in content


def leb128(content, position):
    """An integer of a WebAssembly module: where it ends, and its value."""
    value = shift = 0
    while True:
        byte = content[position]
        value, position, shift = value | (byte & 127) << shift, position + 1, shift + 7
        if byte < 128:
            return position, value
