"""Which pictures are of none of a model's classes: one decision in Python, in C and in the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import Model
from squeezekit.integer.quantizer import no_integer_form
from squeezekit.integer.reference import IntegerNetwork
from squeezekit.modelfile.none_of_these import FLOAT_FRACTION, rounded
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.graph import GraphNetwork
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.measurement import images_at_once


class KnownImages:
    """Decides by integer logits, those of the exports: of an `.onnx` file or a network without integer form by its own, rounded.

    A model whose file has no rule knows every picture.
    """

    def __init__(self, model: Model) -> None:
        self._rule, self._at_once = model.none_of_these, images_at_once(model.config.image_size)
        self._network = _integer_network(model) if self._rule else None

    def __call__(self, pixels: NDArray[np.uint8], logits: Tensor) -> NDArray[np.bool_]:
        """Whether images, uint8 [n, side, side, channels], whose logits [n, classes] in floats are given, are known: bool [n]."""
        if self._rule is None:
            return np.ones(len(pixels), np.bool_)
        test = self._rule.test(FLOAT_FRACTION if self._network is None else self._network.plan.fraction)
        integers = rounded(logits) if self._network is None else self._integers(self._network, pixels)
        known: NDArray[np.bool_] = test(integers).numpy()
        return known

    def _integers(self, network: IntegerNetwork, pixels: NDArray[np.uint8]) -> Tensor:
        parts = torch.split(torch.from_numpy(pixels).permute(0, 3, 1, 2), self._at_once)
        with torch.inference_mode():
            return torch.cat([network.integers(part) for part in parts])


def _integer_network(model: Model) -> IntegerNetwork | None:
    if isinstance(model.network, IntegerNetwork):
        return model.network
    path = Path(model.name)
    if no_integer_form(model.network) or not path.is_file() or read_sqz(path).activation_ranges is None:
        return None
    try:
        return IntegerNetwork(integer_plan(model))
    except SqueezekitError:
        # Numbers of others may have none: then nothing is exported in integers, either.
        if isinstance(model.network, GraphNetwork):
            return None
        raise
