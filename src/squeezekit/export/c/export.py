"""C: a folder with a header, a source file and a program, for any machine that has a C99 compiler."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from squeezekit.export.c.source import PREFIX, check_name, source_of, was_exported
from squeezekit.export.c.tables import DecodedWeights, StoreWeights, check_max_ram
from squeezekit.inference.int8_model import accuracy_in_integers, integer_plan
from squeezekit.inference.model import load_model
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.presentation import Presented


@dataclass(frozen=True)
class CExport(Presented):
    """What was written; sizes are bytes, `macs` those that are done for one image.

    `constants` stand in flash, `variables` in RAM (and, with vectors, packed weights, which the exported README counts); of the
    variables, `activations` are the feature maps. `activations_by_layer` is what these would take one after the other,
    `activations_by_row` as rows that flow through the whole network, `least_activations` in the order of fewest bytes.
    `decoded` compares the ways to decode coded weights, None for others; where that is done in parts, `activations` have those
    of one part among them. `validation` is the accuracy 0…1 `before` and `after`, empty where no images are at hand.
    """

    folder: str
    store_weights: StoreWeights
    macs: int
    constants: int
    variables: int
    activations: int
    least_activations: int
    activations_by_layer: int
    activations_by_row: int
    decoded: DecodedWeights | None
    validation: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The result in sentences for a reader."""
        sizes = f"{self.constants:,} bytes of constants, {self.variables:,} of variables"
        others = (
            f"layer by layer {self.activations_by_layer:,}, all row by row {self.activations_by_row:,}, "
            f"the least {self.least_activations:,}"
        )
        lines = [
            f"{self.folder}: {sizes}, {self.macs:,} MACs a picture",
            f"activations: {self.activations:,} bytes ({others})",
        ]
        if self.decoded and self.decoded.done_in_parts:
            lines[1] = f"activations and the weights of a part: {self.activations:,} bytes (activations alone: {others})"
        return [*lines, self.decoded.in_words()] if self.decoded else lines


def export_c(
    model: str | Path,
    out: str | Path,
    *,
    store_weights: StoreWeights = "dense",
    max_ram: int | None = None,
    name: str = PREFIX,
    data: str | Path | None = None,
) -> CExport:
    """Write a run or a `.sqz` file of a network that has integers as C into the folder `out`.

    All computing is in integers: feature maps and weights of eight bits, scales calibrated on training images, or as a `.sqz`
    file states them. `store_weights="sparse"` leaves out weights that are zero, and their products, where that takes fewer bytes;
    "coded" embeds weights entropy-coded, to be decoded into RAM: all of them once at the start or, where that takes less RAM in
    all, those of one part of the network after the other, anew for each picture. Feature maps are computed in the order that
    needs the least RAM, partly row by row; with `max_ram` bytes for them, in the one that keeps most layers whole; not for coded
    weights. Functions, macros and files begin with `name`. Where the images are at hand (a run's own, or `data`), the accuracy on
    the validation images is measured before and after. An earlier export in `out` is replaced whole. Raises SqueezekitError, also
    when anything else is there.
    """
    if store_weights not in get_args(StoreWeights):
        raise SqueezekitError(f"--store-weights {store_weights}: is unknown; choose {', '.join(get_args(StoreWeights))}")
    check_name(name)
    check_max_ram(store_weights, max_ram)
    loaded, out = load_model(model), expanded(out)
    _check_replaceable(out, name)
    plan = integer_plan(loaded, data)
    source = source_of(plan, loaded, store_weights=store_weights, max_ram=max_ram, name=name)
    atomic_io.write_folder(out, source.files)
    validation = accuracy_in_integers(loaded, plan, data)
    memory = source.memory
    orders = memory.orders
    sizes = (memory.constants, memory.variables, memory.arena, orders.least, orders.by_layer, orders.by_row)
    return CExport(str(out), store_weights, source.macs, *sizes, memory.decoded, validation)


def _check_replaceable(out: Path, name: str) -> None:
    """Refuse a folder with anything but the files of an export of that name and what make builds of them."""
    if not out.exists():
        return
    names = {path.name for path in out.iterdir()} if out.is_dir() else {"."}
    exported = {"main.c", "Makefile", "README.md", "main.o", "classify"} | {f"{name}.{suffix}" for suffix in "hco"}
    if names - exported or (names and not was_exported(out / f"{name}.h")):
        raise SqueezekitError(f"-o {out}: is there and holds other things than an export of that name; name a new folder")
