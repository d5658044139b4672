"""Training that starts from a trained network: one in the box, a `.sqz` file, a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from squeezekit.acceleration.folding import folded, unfolded
from squeezekit.data.image_set import ImageSet
from squeezekit.inference.model import load_model
from squeezekit.inference.onnx_network import OnnxNetwork
from squeezekit.networks.config import NetworkConfig
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.run_folder import Run
from squeezekit.training.train import train

# What the images and the recipe decide, not the network that is gone on from.
DECIDED_ANEW = {"name", "classes", "dropout", "batch_norm"}


def fine_tune(model: str | Path, data: str | None = None, **options: Any) -> Run:
    """`train`, from the weights of a MODEL in place of random ones; pictures are resized and normalized as it has them.

    Everything but the last layer goes on; that too where there are as many classes, whatever their names. `options` are those of
    `train`. Raises SqueezekitError, also for an `.onnx` file, which holds no network to train.
    """
    return train(data, pretrained=Trained(model), **options)


class Trained:
    """A MODEL, for `train`."""

    def __init__(self, model: str | Path) -> None:
        loaded = load_model(model)
        self.name, self._network, self._loaded = str(model), loaded.network, loaded
        if isinstance(loaded.network, OnnxNetwork):
            raise SqueezekitError(f"{model}: cannot be trained; give a .sqz file, a run folder, or a name in squeezekit models")
        self.network = loaded.config.name
        self.fields = loaded.config.model_dump(exclude=DECIDED_ANEW)

    def validation(self, images: ImageSet, fingerprints: tuple[str, str]) -> NDArray[np.int64] | None:
        """See `Pretrained`."""
        return self._loaded.validation(images) if self._loaded.fingerprints == fingerprints else None

    def weights(self, network: NetworkConfig, images: Tensor) -> dict[str, Tensor]:
        """See `Pretrained`."""
        return dict(self._like(network, images).state_dict())

    def _like(self, network: NetworkConfig, images: Tensor) -> nn.Module:
        """With batch normalization where `network` has it, and only there."""
        trained, own = self._network, self._loaded.config
        # A network without such a field may have batch normalization all the same, which a .sqz file never has.
        has = getattr(own, "batch_norm", Path(self._loaded.name).is_dir())
        wanted = getattr(network, "batch_norm", True)
        if has == wanted:
            return trained
        return unfolded(trained, images, own) if wanted else folded(trained)
