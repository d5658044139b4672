"""How many instructions does a picture take on small processors, emulated, and how many bytes?

    python benchmarks/instructions.py [MODEL …] [--processors cortex-m4 …] [--by-layer]

Compiles the exported C by zig's compiler with -O2. A MODEL is a run, a `.sqz` file or a pretrained name; `resnet8` and `resnet20`
are networks of their shapes with random weights, as CMSIS-NN's and TinyMaix's are: their shortcuts to more channels are 1×1
convolutions. The weights are constants (dense), constants without zeros (sparse) or coded; `plain loops` are dense ones without a
processor's own instructions, as the compiler makes vectors of them or, where it says `scalar`, does not. QEMU's clock advances a
nanosecond an instruction. Needs qemu-system-arm, qemu-system-aarch64, qemu-system-riscv64 and `pip install 'squeezekit[c]'`.

Prints one JSON line each. `instructions` are those of a picture, those of `classifier_start` are `start`. Bytes: `code` and
`constants` of flash, `variables` in all, among them `arena`; what feature maps would take layer by layer and row by row; coded
weights that are decoded in parts have theirs in the arena.

With `--by-layer` a line for each layer, of dense weights, whole feature maps one after the other: what the network takes that
ends with it, less what the one takes that ends before it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulated import counted
from squeezekit.export.c.source import source_of
from squeezekit.export.c.tables import StoreWeights
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.integer.plan import (
    FeatureMap,
    IntegerConvolution,
    IntegerHead,
    IntegerPlan,
    IntegerPooling,
    IntegerResidual,
    Step,
)
from squeezekit.networks import network_config
from squeezekit.pretrained.files import model_path

MODELS = ("cifar10-pico", "cifar10-nano", "cifar10-tiny", "cifar10-small", "digits-nano", "resnet8", "resnet20")
RESNETS = {"resnet8": 1, "resnet20": 3}  # Blocks of a stage.
PROCESSORS = ("cortex-m4", "cortex-m7", "cortex-m55", "aarch64", "aarch64-dotprod", "aarch64-i8mm", "riscv64", "riscv64-v")
PLAIN = ["-U__ARM_FEATURE_DSP", "-U__ARM_FEATURE_MVE", "-U__ARM_NEON", "-U__riscv_v_intrinsic"]
SCALAR = ["-fno-vectorize", "-fno-slp-vectorize"]
# Of each way the weights' form, and what the compiler is told.
WAYS: dict[str, tuple[StoreWeights, list[str]]] = {
    "dense": ("dense", []),
    "sparse": ("sparse", []),
    "coded": ("coded", []),
    "plain loops": ("dense", PLAIN),
    "plain loops, scalar": ("dense", [*PLAIN, *SCALAR]),
}

# How a network is run, and how its first layers are: compilers must not know how many.
CALL = "sqz_run(&model, picture, memory.arena, logits);"
CALL_OF_PART = """volatile uint16_t layers = LAYERS;
    struct sqz_model part = model;
    part.layer_count = layers;
    sqz_run(&part, picture, memory.arena, logits);"""


def subject(name: str) -> tuple[Model, IntegerPlan]:
    """A model and its plan."""
    if name not in RESNETS:
        model = load_model(model_path(name))
        return model, integer_plan(model)
    config = network_config(name)
    classes = tuple(f"class {i}" for i in range(config.classes))
    return Model(name, config.build(), config, classes, None, None, None), resnet_plan(RESNETS[name], config.classes)


def resnet_plan(blocks: int, classes: int) -> IntegerPlan:
    """The shapes of a ResNet for images of 32 × 32 (networks/resnet.py) with random weights of eight bits."""
    random = np.random.default_rng(0)
    maps, steps = [FeatureMap(32, 32, 3, 1.0)], list[Step]()

    def weights(filters: int, kernel: int, channels: int) -> Any:
        return random.integers(-127, 128, (filters, kernel, kernel, channels)).astype(np.int8)

    def convolved(source: int, filters: int, kernel: int, stride: int = 1, residual: IntegerResidual | None = None) -> int:
        here = maps[source]
        maps.append(FeatureMap(here.height // stride, here.width // stride, filters, 1.0))
        values = weights(filters, kernel, here.channels)
        gain, border = np.full(filters, 9000), (128,) * here.channels
        target, padding, bias = len(maps) - 1, kernel // 2, np.zeros(filters, np.int64)
        steps.append(IntegerConvolution(source, target, values, bias, gain, 12, border, stride, padding, residual=residual))
        return target

    current = convolved(0, 16, 3)
    for filters in (16, 32, 64):
        for block in range(blocks):
            stride = 2 if filters > 16 and block == 0 else 1
            kept = convolved(current, filters, 1, stride) if stride > 1 else current
            inside = convolved(current, filters, 3, stride)
            current = convolved(inside, filters, 3, residual=IntegerResidual(kept, 1 << 14, 0, 15))
    values = weights(classes, 1, 64).reshape(classes, 64)
    steps.append(IntegerHead(current, values, np.zeros(classes, np.int64), np.full(classes, 1 << 20), 24, relu=False))
    return IntegerPlan(tuple(maps), tuple(steps), 8, False)


def noise_for(model: Model) -> NDArray[np.uint8]:
    """A picture, uint8 [side, side, channels]."""
    side, channels = model.config.image_size, model.config.channels
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), np.uint8)


def line(name: str, machine: str, way: str) -> dict[str, Any]:
    """What one way takes."""
    (model, plan), (stored, flags) = subject(name), WAYS[way]
    source = source_of(plan, model, store_weights=stored)
    memory = source.memory
    return {
        "model": Path(name).stem,
        "weights_are": "random" if name in RESNETS else "trained",
        "processor": machine,
        "way": way,
        "macs": source.macs,
        **counted(source.files, noise_for(model), machine, flags),
        "arena": memory.arena,
        "arena_by_layer": memory.orders.by_layer,
        "arena_by_row": memory.orders.by_row,
        "decoded_in_parts": memory.decoded.in_parts < memory.decoded.at_start if memory.decoded else None,
        "decoding_foretold": memory.decoded.instructions if memory.decoded else None,
    }


def by_layer(name: str, machine: str) -> Iterator[dict[str, Any]]:
    """What each layer takes."""
    model, plan = subject(name)
    files = source_of(plan, model, store_weights="dense", max_ram=2**30).files
    noise = noise_for(model)
    before, text = 0, str(files["classifier.c"])
    assert text.count(CALL) == 1 and ".order = NULL" in text
    for number, step in enumerate(plan.steps):
        ending = {**files, "classifier.c": text.replace(CALL, CALL_OF_PART.replace("LAYERS", str(number + 1)))}
        taken = counted(ending, noise, machine, [])["instructions"]
        facts = {"model": Path(name).stem, "processor": machine, "layer": number, "is": described(plan, step)}
        yield {**facts, "macs": plan.macs_of(step), "instructions": taken - before}
        before = taken


def described(plan: IntegerPlan, step: Step) -> str:
    """A layer in words."""
    source = plan.feature_maps[step.source]
    if isinstance(step, IntegerPooling):
        return f"pooling of {source.width} × {source.height} × {source.channels}"
    if isinstance(step, IntegerHead):
        return f"average, {source.channels} to {step.filters} classes"
    kind = "depthwise" if step.depthwise else f"{source.channels} to"
    more = ", pooled" * step.pooled + ", added" * bool(step.residual)
    return f"{step.kernel} × {step.kernel}, {kind} {step.filters}, {source.width} × {source.height}{more}"


def ways_of(name: str, machine: str) -> list[str]:
    """Of plain loops the compiler makes vectors for AArch64 and RISC-V; random weights are neither sparse nor coded."""
    if machine in ("aarch64-dotprod", "aarch64-i8mm", "riscv64"):
        return ["dense"]
    if machine == "riscv64-v":
        return ["dense", "plain loops"]
    ways = ["dense", "plain loops"] if name in RESNETS else ["dense", "sparse", "coded", "plain loops"]
    return ways + ["plain loops, scalar"] * (machine == "aarch64")


def main() -> None:
    """Parse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--processors", nargs="+", choices=PROCESSORS, default=[*PROCESSORS], metavar="NAME")
    parser.add_argument("--by-layer", action="store_true")
    given = parser.parse_args()
    for name in given.models:
        for machine in given.processors:
            whole = (line(name, machine, way) for way in ways_of(name, machine))
            for row in by_layer(name, machine) if given.by_layer else whole:
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
