"""The page that classifies by itself, of the model that a service has now."""

from __future__ import annotations

import asyncio

from squeezekit.deployment.html import page_of
from squeezekit.deployment.live_model import LiveModel
from squeezekit.errors import SqueezekitError
from squeezekit.inference.model import Model
from squeezekit.inference.quantising import integer_plan


class FrontPage:
    """Made when first asked for, and again for another model."""

    def __init__(self, live: LiveModel) -> None:
        self._live = live
        self._one_at_a_time = asyncio.Lock()
        self._made: tuple[Model | None, str | None] = (None, None)

    async def text(self) -> str | None:
        """HTML; nothing where the model cannot be computed in integers, or where images for its scales are not at hand."""
        async with self._one_at_a_time:
            model = self._live.classifier.model
            if self._made[0] is not model:
                self._made = (model, await asyncio.to_thread(_page, model))
            return self._made[1]


def _page(model: Model) -> str | None:
    try:
        return page_of(model, integer_plan(model))
    except SqueezekitError:
        return None
