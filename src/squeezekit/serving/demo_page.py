"""The page that classifies in the visitor's browser, of the model that a service has now."""

from __future__ import annotations

import asyncio
from pathlib import Path

from squeezekit.export.html.export import page_of
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import Model
from squeezekit.integer.quantizer import no_integer_form
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.serving.live_model import LiveModel
from squeezekit.system.console import say


class DemoPage:
    """Made when first asked for, and again for another model."""

    def __init__(self, live: LiveModel) -> None:
        self._live = live
        self._lock = asyncio.Lock()
        self._made: tuple[Model | None, str | None] = (None, None)

    async def html(self) -> str | None:
        """The page; None unless the model is a `.sqz` file that states its activation ranges: no visitor makes us read images."""
        async with self._lock:
            model = self._live.classifier.model
            if self._made[0] is not model:
                self._made = (model, await asyncio.to_thread(_page, model))
            return self._made[1]


def _page(model: Model) -> str | None:
    # That of the copy in use: what lies at the service's path may be another by now, and unchecked.
    path = Path(model.name)
    try:
        if path.suffix != ".sqz" or no_integer_form(model.network) or read_sqz(path).activation_ranges is None:
            return None
        return page_of(model, integer_plan(model))
    except Exception as error:
        say(f"{path.name}: no page can be made of it: {error}")
        return None
