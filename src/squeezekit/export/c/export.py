"""C: a folder with a header, a source file and a program, for any machine that has a C99 compiler."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from squeezekit.export.c.source import source_of
from squeezekit.inference.model import load_model
from squeezekit.integer.quantizer import accuracy_in_integers, integer_plan
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.presentation import Presented


@dataclass(frozen=True)
class CExport(Presented):
    """What was written; sizes are bytes.

    `constants` stand in flash, `variables` in RAM (and, with vectors, packed weights, which the exported README counts); of the
    variables, `activations` are the maps, and no placement of them takes less than `least_activations`. `validation` is
    the accuracy before and after, empty where no images are at hand.
    """

    folder: str
    weights: str
    macs: int
    constants: int
    variables: int
    activations: int
    least_activations: int
    validation: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """What a reader wants to know of it."""
        least = "the least" if self.activations == self.least_activations else f"at least {self.least_activations:,}"
        sizes = f"{self.constants:,} bytes of constants, {self.variables:,} of variables"
        return [
            f"{self.folder}: {sizes}, {self.macs:,} multiply-adds a picture",
            f"activations: {self.activations:,} bytes; possible in this order of steps: {least}",
        ]


def export_c(
    model: str | Path, out: str | Path, *, weights: Literal["plain", "sqz"] = "plain", data: str | Path | None = None
) -> CExport:
    """Write a run or a `.sqz` file of the SqueezeNet family as C into the folder `out`.

    All computing is in integers: maps and weights of eight bits, scales calibrated on training images, or as a `.sqz` file states
    them. `weights="sqz"` embeds weights entropy-coded. Where the images are at hand (a run's own, or `data`), the accuracy on the
    validation images is measured before and after. An earlier export in `out` is replaced whole. Raises SqueezekitError, also
    when anything else is there.
    """
    if weights not in ("plain", "sqz"):
        raise SqueezekitError(f"--weights {weights}: is unknown; choose plain or sqz")
    loaded, out = load_model(model), Path(out).expanduser()
    _check_replaceable(out)
    plan = integer_plan(loaded, data)
    source = source_of(plan, loaded, coded=weights == "sqz")
    atomic_io.write_folder(out, source.files)
    validation = accuracy_in_integers(loaded, plan, data)
    memory = source.memory
    return CExport(str(out), weights, plan.macs, memory.constants, memory.variables, memory.arena, memory.least_arena, validation)


def _check_replaceable(out: Path) -> None:
    """Nothing is lost that was not made here: files of an export and what make builds of them."""
    if not out.exists():
        return
    ours = {"classifier.h", "classifier.c", "main.c", "Makefile", "README.md", "classifier.o", "main.o", "classify"}
    names = {path.name for path in out.iterdir()} if out.is_dir() else {"."}
    if names - ours or (names and "classifier.h" not in names):
        raise SqueezekitError(f"-o {out}: is there and holds other things than an export; name a new folder")
