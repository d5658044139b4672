"""A trained network that takes pictures and gives answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from squeezekit.images.batches import Batches
from squeezekit.images.image_set import ImageSet
from squeezekit.images.picture import Picture, read_picture
from squeezekit.inference.model import Model, load_model
from squeezekit.training.measure import images_at_once, logits_of


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture: `probabilities` of all classes, 0…1, most probable first.

    `unsure` says that the network would rather not answer: its probability is below what calibration found for right ones.
    """

    probabilities: tuple[tuple[str, float], ...]
    unsure: bool = False

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.probabilities[0][0]

    @property
    def probability(self) -> float:
        """Its probability, 0…1."""
        return self.probabilities[0][1]


class Classifier:
    """A network with its classes: `Classifier.load("runs/x")("cat.jpg").label`."""

    def __init__(self, model: Model) -> None:
        self.model, self.network, self.config, self.classes = model, model.network, model.config, model.classes

    @classmethod
    def load(cls, model: str | Path) -> Classifier:
        """Load a MODEL: a run folder, a `.sqz` or an `.onnx` file. Raises SqueezekitError."""
        return cls(load_model(model))

    def __call__(self, picture: Picture) -> Prediction:
        """Classify one picture: a path, an open file, a PIL image, or uint8 [h, w] or [h, w, 3]."""
        return self.classify([picture])[0]

    def classify(self, pictures: Iterable[Picture]) -> list[Prediction]:
        """Classify pictures of any sizes, as one batch; raises SqueezekitError for one that cannot be read."""
        config = self.config
        pixels = [read_picture(picture, config.image_size, config.channels) for picture in pictures]
        return self.classify_pixels(np.stack(pixels)) if pixels else []

    def classify_pixels(self, pixels: NDArray[np.uint8]) -> list[Prediction]:
        """Classify images that already have the network's size: uint8 [n, image_size, image_size, channels]."""
        images = ImageSet(pixels, np.zeros(len(pixels), np.int64), self.classes, "", mirrorable=False)
        batches = Batches(images, batch_size=images_at_once(self.config.image_size), mean=self.config.mean, std=self.config.std)
        logits, _ = logits_of(self.network, batches)
        probabilities, order = torch.softmax(logits / self.model.temperature, 1).sort(1, descending=True)
        return [
            Prediction(
                tuple((self.classes[i], p) for i, p in zip(indices, values, strict=True)), values[0] < self.model.threshold
            )
            for indices, values in zip(order.tolist(), probabilities.tolist(), strict=True)
        ]
