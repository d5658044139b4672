"""The library of a machine is what the source gives, also on AArch64; on other machines, that there is none is said."""

import importlib.util
import platform
import shutil
import struct
import subprocess
import sys
from array import array
from pathlib import Path

import numpy as np
import pytest

from squeezekit import RunFailed
from squeezekit.device.library import FOLDER, library
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.layer_records import LAYER
from squeezekit.integer.layout import layout_of
from squeezekit.pretrained.files import model_path
from tests.fixtures.exported import pictures_like, reference

ROOT = Path(__file__).parents[2]
needs_zig = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="not installed; pip install 'squeezekit[c]'")


@pytest.mark.slow
@needs_zig
def test_what_is_shipped_is_what_the_source_gives(tmp_path):
    subprocess.run([sys.executable, ROOT / "scripts" / "build_device.py", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.glob("*.bin")}
    assert sum(map(len, made.values())) < 80_000


def test_a_machine_without_a_library_is_told_so(monkeypatch):
    library.cache_clear()
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(RunFailed, match="64-bit Linux, on x86-64 and AArch64, and not here, .* on vax; install squeezekit"):
        library()


@pytest.mark.slow
@needs_zig
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="qemu-aarch64 is not installed")
def test_aarch64_gives_the_same_bits(tmp_path):
    """The source as it is shipped, linked to a program that reads tables and writes what the functions make of them."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from build_device import FLAGS

    random, model = np.random.default_rng(0), load_model(model_path("cifar10-nano"))
    weights = random.standard_normal((7, 5, 9)).astype(np.float32)
    divisors, steps = random.uniform(0.1, 3, 5), random.uniform(0.003, 0.1, 7)
    rounded = np.clip(np.rint(weights.astype(float) / divisors[:, None] / steps[:, None, None]), -127, 127)
    plan, pixels = integer_plan(model), pictures_like(model.config, 3)
    layout = layout_of(plan)
    head = (7, 5, 9, len(layout.layers), len(layout.head_gains), layout.arena.bytes, pixels[0].size, len(pixels))
    tables = [layout.weights, layout.biases.astype("<i4"), layout.gains.astype("<u2"), layout.head_gains.astype("<u4")]
    parts = [weights, divisors, steps, b"".join(layer.packed() for layer in layout.layers), *tables, pixels]
    data = [part if isinstance(part, bytes) else part.tobytes() for part in parts]
    assert len(data[3]) == LAYER.size * head[3]
    sizes = [len(part) for part in data]
    border = bytes((*layout.border, 0, 0, 0)[:4])
    (tmp_path / "in").write_bytes(struct.pack(f"<{len(head)}q{len(sizes)}q", *head, *sizes) + border + b"".join(data))
    program, source = tmp_path / "program", ROOT / "tests" / "fixtures" / "device_program.c"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static", *FLAGS, source, "-o", program]
    subprocess.run(list(map(str, command)), check=True)
    out = subprocess.run(["qemu-aarch64", program, tmp_path / "in"], check=True, capture_output=True).stdout
    found, logits = out[: rounded.size], array("i", out[rounded.size :])
    assert found == rounded.transpose(0, 2, 1).astype(np.int8).tobytes()
    assert np.reshape(logits, (len(pixels), -1)).tolist() == reference(plan, pixels).tolist()
