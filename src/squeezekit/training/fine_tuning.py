"""A trained network to start from: what the new one takes from it, and which images it may validate with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from squeezekit.acceleration.folding import folded, has_norms, unfolded
from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.splits import Split
from squeezekit.networks.config import NetworkConfig
from squeezekit.system.errors import SqueezekitError

# What the images and the recipe decide, not the network that is started from.
DECIDED_ANEW = {"name", "classes", "dropout", "batch_norm"}
# Side in pixels.
SMALLEST_CROPPED = 64
# Trained weights are soon as good as they get, however many epochs of a few images fit into a time.
MOST_EPOCHS = 60
# Of those to train on, from which the statistics of a network to start from are taken.
STATISTICS_IMAGES, STATISTICS_PIXELS = 512, 2**19


@dataclass(frozen=True)
class StartingPoint:
    """A trained network; training goes on from its weights in place of random ones.

    `name` is what the user gave. `fingerprints` are those of its training and test images, if known, and `validation` gives the
    indices of its validation images among the training images, or raises SqueezekitError. `classes` are their names.
    """

    name: str
    network: nn.Module
    config: NetworkConfig
    fingerprints: tuple[str, str] | None
    validation: Callable[[ImageSet], NDArray[np.int64]]
    classes: tuple[str, ...]

    @property
    def fields(self) -> dict[str, Any]:
        """Those of its configuration that the new network shares: its layers, and how it takes images."""
        return self.config.model_dump(exclude=DECIDED_ANEW)

    @property
    def gentle_fields(self) -> dict[str, Any]:
        """Fields with which little is lost of what it knows: no statistics of few images, and no crops of small ones.

        A crop of a small image shows another thing, such as half a digit.
        """
        shifts = {"augmentation": "shift-flip", "color": 0.0} if self.config.image_size < SMALLEST_CROPPED else {}
        return {"batch_norm": False, **shifts} if hasattr(self.config, "batch_norm") else shifts

    def new_head(self, classes: int) -> dict[str, Any]:
        """Fields of a last layer for so many classes, where that must start anew: without a ReLU, to be fitted by itself."""
        return {"head_relu": False} if classes != self.config.classes and hasattr(self.config, "head_relu") else {}

    def weights(self, config: NetworkConfig, source: ImageSource, split: Split) -> dict[str, Tensor]:
        """Its weights as those of a network of `config`, the last layer perhaps of other classes.

        Raises SqueezekitError where images that validate the new network may have trained this one.
        """
        if self.fingerprints == (source.training.fingerprint, source.test.fingerprint):
            self._check_unseen(source.training, split)
        return dict(self._with_norm_of(config, source.training, split).state_dict())

    def _check_unseen(self, images: ImageSet, split: Split) -> None:
        if np.setdiff1d(split.validation, self.validation(images)).size:
            raise SqueezekitError(
                f"{self.name}: may have learnt images that validate this run; give its own --seed and --validation-share"
            )

    def _with_norm_of(self, config: NetworkConfig, images: ImageSet, split: Split) -> nn.Module:
        """With batch normalization where `config` has it, and only there; its statistics are those of some images."""
        # A network without such a field may have batch normalization all the same, which a .sqz file never has.
        network, wanted = self.network, getattr(config, "batch_norm", True)
        if wanted == getattr(self.config, "batch_norm", has_norms(network)):
            return network
        return unfolded(network, some_images(config, images, split), self.config) if wanted else folded(network)


def some_images(config: NetworkConfig, images: ImageSet, split: Split) -> Tensor:
    """Some of the images that train, as the network of `config` takes them: [n, c, h, w], n at most 512, fewer of large ones."""
    count = min(STATISTICS_IMAGES, max(STATISTICS_PIXELS // config.image_size**2, 2))
    some = np.random.default_rng(0).permutation(split.training)[:count]
    return next(Batches(images, some, batch_size=len(some), mean=config.mean, std=config.std).in_order())[0]
