"""The range of each convolution's outputs, from which integer inference takes its scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from squeezekit.data.batches import Batch
from squeezekit.modelfile.section import JsonSection
from squeezekit.system.errors import RunFailed, SqueezekitError

# Outputs of a network that has learnt something are far smaller.
MAX_OUTPUT = 1e9
Edge = Annotated[float, Field(ge=-MAX_OUTPUT, le=MAX_OUTPUT)]


class ActivationRanges(JsonSection):
    """The section `rang`: the least and the largest output of each convolution on calibration images.

    Outputs are taken after the bias and before ReLU, and rounded to three digits. They stand in the order of the convolutions'
    weights in the file.
    """

    title = "its activation ranges"

    low: tuple[Edge, ...] = Field(max_length=4096)
    high: tuple[Edge, ...] = Field(max_length=4096)

    @classmethod
    def of(cls, network: nn.Module, images: Iterable[Batch]) -> ActivationRanges:
        """Measure a network in evaluation mode, its batch normalization folded, on batches of images [n, c, h, w].

        Raises RunFailed where outputs are not finite or beyond 1e9.
        """
        convolutions = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
        ranges: dict[str, tuple[float, float]] = {}
        hooks = [module.register_forward_hook(_widen(ranges, name)) for name, module in convolutions.items()]
        try:
            with torch.inference_mode():
                for batch, _labels in images:
                    network(batch)
        finally:
            for hook in hooks:
                hook.remove()
        if not all(-MAX_OUTPUT <= low <= high <= MAX_OUTPUT for low, high in ranges.values()):
            raise RunFailed(
                "outputs of the network on calibration images are no numbers below 1e9; train it again, at a lower learning rate"
            )
        lows, highs = zip(*(ranges[name] for name in convolutions), strict=True)
        return cls(low=tuple(map(_three_digits, lows)), high=tuple(map(_three_digits, highs)))

    @classmethod
    def read_for(cls, content: Any, weights: Mapping[str, Any]) -> ActivationRanges:
        """The ranges that a file holds, for a network of these weights; raises SqueezekitError."""
        found = cls.read(content)
        convolutions = sum(len(part.shape) == 4 for part in weights.values())
        ordered = all(low <= high for low, high in zip(found.low, found.high, strict=False))
        if not len(found.low) == len(found.high) == convolutions or not ordered:
            raise SqueezekitError("damaged: its activation ranges do not fit its network; get the file again")
        return found


def _widen(ranges: dict[str, tuple[float, float]], name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        low, high = (float(x) for x in torch.aminmax(output))
        before = ranges.get(name, (low, high))
        ranges[name] = (min(low, before[0]), max(high, before[1]))

    return hook


def _three_digits(x: float) -> float:
    return float(f"{x:.3g}")
