"""Draws which steps of a circuit multiply when, from its simulation by Verilator.

    python scripts/fpga_chart.py cifar10-nano --target ecp5-85k -o docs/fpga-cycles.png

Four pictures of noise pass, one behind the other; a row is a step of the network, its shade the share of cycles in which its
multipliers had a word to multiply.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib
import numpy as np
from numpy.typing import NDArray

from squeezekit.export.fpga.circuit import Circuit
from squeezekit.export.fpga.export import export_fpga
from squeezekit.export.fpga.planner import TARGETS
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.integer.plan import IntegerHead

PICTURES, BINS = 4, 400


def main() -> None:
    """Simulate, draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--target", choices=list(TARGETS), default="ecp5-85k")
    parser.add_argument("--parallel", type=int)
    parser.add_argument("-o", dest="out", required=True)
    given = parser.parse_args()
    plan = integer_plan(load_model(given.model))
    with TemporaryDirectory() as name:
        said = export_fpga(given.model, Path(name) / "circuit", target=given.target, parallel=given.parallel)
        every = (said.latency + (PICTURES - 1) * said.cycles) // BINS
        answered, shares = busy(Path(name) / "circuit", plan.feature_maps[0].bytes, every)
    names = []
    for one in Circuit(plan).multiplications:
        side = round(one.taps**0.5)
        is_head = isinstance(plan.steps[one.number], IntegerHead)
        names.append("head" if is_head else f"{side} × {side}, {one.outputs} filters, {one.positions:,} places")
    draw(given.out, names, shares, every, answered, f"{given.model}, {said.multipliers} multipliers: who multiplies when")


def busy(folder: Path, image_bytes: int, every: int) -> tuple[list[int], NDArray[np.float64]]:
    """The cycles at which pictures are answered, and the share of cycles [steps, bins] in which each step multiplies."""
    noise = np.random.default_rng(0).integers(0, 256, PICTURES * image_bytes)
    (folder / "pictures.hex").write_text("\n".join(f"{byte:02x}" for byte in noise))
    done = subprocess.run(["make", "-s", "-C", folder, "sim", f"FLAGS=+busy={every}"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    counts = [list(map(int, line.split()[2:])) for line in lines if line.startswith("busy ")]
    answered = [int(line.split()[-1]) for line in lines if " @ " in line]
    return answered, np.array(counts).T / every


def draw(out: str, names: list[str], shares: NDArray[np.float64], every: int, answered: list[int], title: str) -> None:
    """A row a step, from left to right the cycles; lines where answers leave."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 0.32 * len(names) + 1.4), dpi=110, layout="constrained")
    axes.imshow(
        shares,
        aspect="auto",
        interpolation="nearest",
        cmap="Blues",
        vmin=0,
        vmax=1,
        extent=(0, shares.shape[1] * every, len(names) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for number, cycle in enumerate(answered):
        axes.axvline(cycle, color="tab:orange", linewidth=1.2, label="a picture's answer" if number == 0 else None)
    axes.set_xlabel("cycles")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(out)


if __name__ == "__main__":
    main()
