"""Between which values each convolution's outputs lie: what inference in integers chooses its scales from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from squeezekit.data.batches import Batch
from squeezekit.modelfile.section import Section
from squeezekit.system.errors import SqueezekitError


class ActivationRanges(Section):
    """The section `rang`: the least and the largest output of each convolution on calibration images.

    Bias added, before its ReLU, to three digits; in the order in which the convolutions' weights stand in the file.
    """

    subject = "its activation ranges"

    low: tuple[float, ...] = Field(max_length=4096)
    high: tuple[float, ...] = Field(max_length=4096)

    @classmethod
    def of(cls, network: nn.Module, images: Iterable[Batch]) -> ActivationRanges:
        """What a network in use, its batch normalization folded, does with images [n, c, h, w]."""
        convolutions = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
        extremes: dict[str, tuple[float, float]] = {}
        watched = [module.register_forward_hook(_widen(extremes, name)) for name, module in convolutions.items()]
        try:
            with torch.inference_mode():
                for batch, _labels in images:
                    network(batch)
        finally:
            for hook in watched:
                hook.remove()
        lows, highs = zip(*(extremes[name] for name in convolutions), strict=True)
        return cls(low=tuple(map(_short, lows)), high=tuple(map(_short, highs)))

    @classmethod
    def fitting(cls, content: Any, weights: Mapping[str, Any]) -> ActivationRanges:
        """What a file says, for these weights; raises SqueezekitError."""
        found = cls.read(content)
        filters = sum(len(part.shape) == 4 for part in weights.values())
        ordered = all(low <= high for low, high in zip(found.low, found.high, strict=False))
        if not len(found.low) == len(found.high) == filters or not ordered:
            raise SqueezekitError("damaged: its activation ranges do not fit its network; get the file again")
        return found


def _widen(extremes: dict[str, tuple[float, float]], name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        low, high = (float(x) for x in torch.aminmax(output))
        before = extremes.get(name, (low, high))
        extremes[name] = (min(low, before[0]), max(high, before[1]))

    return hook


def _short(x: float) -> float:
    return float(f"{x:.3g}")
