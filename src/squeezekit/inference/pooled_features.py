"""What a trained network sees in images, as one vector each: its convolutions' answers, pooled over the image."""

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
    """Mean and maximum over the image of what the later half of the convolutions gives, negative values as 0: float32 [n, f].

    Images may be larger than those that the network learnt from, which shows it finer detail. Raises SqueezekitError for a MODEL
    without convolutions.
    """

    def __init__(self, model: Model) -> None:
        if isinstance(model.network, OnnxNetwork):
            raise SqueezekitError(
                f"{model.name}: gives no features; give a .sqz file, a run folder, or a name in squeezekit models"
            )
        self._network = model.network.eval()
        if getattr(model.config, "mirrored", False):
            # What it sees in the mirror image costs as much again, and says little more.
            self._network.config = model.config.model_copy(update={"mirrored": False})  # type: ignore[assignment]
        self._normalize = Normalization(model.config.mean, model.config.std)
        layers = [layer for layer in self._network.modules() if isinstance(layer, nn.Conv2d)]
        self._layers = layers[len(layers) // 2 :]
        if not layers:
            raise SqueezekitError(f"{model.name}: has no convolutions, which give features; give another --model")

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of images uint8 [n, h, w, c], with as many channels as the network takes."""
        blocks = (images[start : start + IMAGES_AT_ONCE] for start in range(0, len(images), IMAGES_AT_ONCE))
        return np.concatenate([np.empty((0, self._width()), np.float32), *map(self._block, blocks)])

    def _block(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pooled: list[Tensor] = []

        def pool(_layer: nn.Module, _inputs: object, given: Tensor) -> None:
            positive = given.relu()
            pooled.extend((positive.mean((2, 3)), positive.amax((2, 3))))

        hooks = [layer.register_forward_hook(pool) for layer in self._layers]
        try:
            with torch.inference_mode():
                self._network(self._normalize(torch.from_numpy(images)))
        finally:
            for hook in hooks:
                hook.remove()
        found: NDArray[np.float32] = torch.cat(pooled, 1).numpy()
        return found

    def _width(self) -> int:
        return 2 * sum(layer.out_channels for layer in self._layers)
