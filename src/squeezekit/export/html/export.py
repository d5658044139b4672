"""HTML: one file that classifies images in any browser, without a network connection."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from squeezekit.codec.range_coder import SQUASH
from squeezekit.export.c.tables import coded_weights
from squeezekit.inference.int8_model import accuracy_in_integers, integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.integer.layout import Layout, layout_of
from squeezekit.integer.plan import IntegerPlan
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.presentation import Presented

# `struct block` of page.c.
BLOCK = struct.Struct("<8I4B")
# The averages of so many channels fit the buffer of page.c.
MAX_CHANNELS = 4096


@dataclass(frozen=True)
class HtmlExport(Presented):
    """What was written; sizes are bytes, `model` is that of the coded network in the page, `macs` those of one image.

    `validation` is the accuracy 0…1 `before` and `after`, empty where no images are at hand.
    """

    file: str
    bytes: int
    model: int
    macs: int
    validation: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The result in sentences for a reader."""
        return [f"{self.file}: {self.bytes:,} bytes, of which {self.model:,} are the network; open it in a browser"]


def export_html(model: str | Path, out: str | Path, *, data: str | Path | None = None) -> HtmlExport:
    """Write a run or a `.sqz` file of a network that has integers as a page that classifies images by itself.

    It computes in integers, as the C export does, by the same code as WebAssembly; nothing leaves the page. Where the images
    are at hand (a run's own, or `data`), the accuracy on the validation images is measured before and after. Raises
    SqueezekitError.
    """
    loaded, out = load_model(model), expanded(out)
    if out.suffix != ".html":
        raise SqueezekitError(f"-o {out}: name a file that ends in .html")
    plan = integer_plan(loaded, data)
    block = model_block(plan)
    text = page_of(loaded, plan, block)
    atomic_io.write_text(out, text)
    return HtmlExport(str(out), len(text.encode()), len(block), plan.macs, accuracy_in_integers(loaded, plan, data))


def page_of(model: Model, plan: IntegerPlan, block: bytes | None = None) -> str:
    """The text of the page; `block` is what `model_block` gives for the plan."""
    parts = {name: _part(name).decode() for name in ("page.html", "page.css", "page.js")}
    description = {
        "name": Path(model.name).stem,
        "network": model.config.name,
        "classes": model.classes,
        "side": plan.feature_maps[0].height,
        "channels": plan.feature_maps[0].channels,
        "unit": 2.0**plan.fraction * model.temperature,
        "threshold": model.threshold,
        "none": _rule(plan, model),
        "macs": plan.macs,
    }
    filled = {
        "POLICY": policy(parts["page.js"], parts["page.css"]),
        "STYLE": parts["page.css"],
        "SCRIPT": parts["page.js"],
        "RUNTIME": base64.b64encode(_part("page.wasm")).decode(),
        "MODEL": base64.b64encode(block or model_block(plan)).decode(),
        # Names may hold anything, also the end of the element, and what UTF-8 cannot write.
        "ABOUT": json.dumps(description).replace("<", "\\u003c"),
    }
    page = parts["page.html"]
    for name, text in filled.items():
        page = page.replace(f"@{name}@", text, 1)
    return page


def _rule(plan: IntegerPlan, model: Model) -> dict[str, Any] | None:
    if model.none_of_these is None:
        return None
    weights, biases, least = model.none_of_these.test(plan.fraction)
    return {"weights": [] if weights is None else weights.tolist(), "biases": biases.tolist(), "least": least}


def policy(script: str, style: str) -> str:
    """A Content-Security-Policy that allows this script and this style, and no connection."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}' 'wasm-unsafe-eval'; style-src 'sha256-{hashes[1]}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def model_block(plan: IntegerPlan) -> bytes:
    """A network as page.c reads it: sizes, the coder's table, layers, biases, gains, and the coded weights."""
    layout = layout_of(plan)
    _check_room(layout)
    coded = coded_weights(plan)
    border = (*layout.border, 0, 0, 0)[:4]
    sizes = (len(layout.weights), len(layout.biases), len(layout.gains), len(coded))
    tables = [
        BLOCK.pack(len(layout.layers), len(layout.head_gains), plan.mirrored, layout.arena.bytes, *sizes, *border),
        np.asarray(SQUASH[2048:], "<u2").tobytes(),
        b"".join(layer.packed() for layer in layout.layers),
        layout.biases.astype("<i4").tobytes(),
        layout.head_gains.astype("<u4").tobytes(),
        layout.gains.astype("<u2").tobytes(),
        coded,
    ]
    return b"".join(table + bytes(-len(table) % 4) for table in tables)


def _check_room(layout: Layout) -> None:
    widest = max(layer.channels for layer in layout.layers)
    if widest > MAX_CHANNELS:
        raise SqueezekitError(
            f"a feature map of {widest:,} channels is too wide for a page; at most {MAX_CHANNELS:,} are possible"
        )


def _part(name: str) -> bytes:
    return (resources.files("squeezekit.export.html") / "page" / name).read_bytes()
