"""What a trained network sees in images, as one vector each: what comes before its last layer, pooled over the image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squeezekit.data.batches import Normalization
from squeezekit.inference.model import Model
from squeezekit.inference.onnx_network import OnnxNetwork
from squeezekit.system.errors import SqueezekitError

IMAGES_AT_ONCE = 32


class PooledFeatures:
    """Mean and maximum over the image of the last feature maps, or what a network has already pooled: float32 [n, f].

    Images may be larger than those that the network learnt from, which shows it finer detail. Raises SqueezekitError for a MODEL
    without such features.
    """

    def __init__(self, model: Model) -> None:
        head = getattr(model.network, "classifier", None)
        if isinstance(model.network, OnnxNetwork) or not isinstance(head, nn.Module):
            raise SqueezekitError(
                f"{model.name}: gives no features; give a .sqz file, a run folder, or a name in squeezekit models"
            )
        self._network, self._head = model.network.eval(), head
        if getattr(model.config, "mirrored", False):
            # What it sees in the mirror image costs as much again, and says little more.
            self._network.config = model.config.model_copy(update={"mirrored": False})  # type: ignore[assignment]
        self._normalize = Normalization(model.config.mean, model.config.std)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of images uint8 [n, h, w, c], n at least 1, with as many channels as the network takes."""
        starts = range(0, len(images), IMAGES_AT_ONCE)
        return np.concatenate([self._block(images[start : start + IMAGES_AT_ONCE]) for start in starts])

    def _block(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen: list[Tensor] = []
        hook = self._head.register_forward_pre_hook(lambda _head, inputs: seen.append(inputs[0]))
        try:
            with torch.inference_mode():
                self._network(self._normalize(torch.from_numpy(np.array(images))))
        finally:
            hook.remove()
        maps = seen[0]
        found: NDArray[np.float32] = (torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1) if maps.ndim == 4 else maps).numpy()
        return found
