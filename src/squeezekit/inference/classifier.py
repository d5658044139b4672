"""A trained network that takes pictures and gives answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from squeezekit.acceleration.folding import folded
from squeezekit.data.batches import Normalization
from squeezekit.data.image_file import ImageInput, read_image
from squeezekit.inference.known_images import KnownImages
from squeezekit.inference.model import Model, load_model
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.presentation import Presented, Row, Tabular, percent
from squeezekit.training.measurement import images_at_once


@dataclass(frozen=True, repr=False)
class Prediction(Tabular):
    """The answer for one image: `probabilities` of all classes, 0…1, most probable first.

    `unsure` says that the probability is below the threshold that calibration found for right answers; `known` is False for a
    picture of none of these classes. `to_frame()` has a row for each class.
    """

    probabilities: tuple[tuple[str, float], ...]
    unsure: bool = False
    known: bool = True

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.probabilities[0][0]

    @property
    def probability(self) -> float:
        """Its probability, 0…1."""
        return self.probabilities[0][1]

    def _shown(self) -> Row:
        shown: dict[str, object] = {"label": self.label, "probability": percent(self.probability)}
        return shown | ({"unsure": True} if self.unsure else {}) | ({} if self.known else {"known": False})

    def _records(self) -> Sequence[Row]:
        return [{"class": name, "probability": probability} for name, probability in self.probabilities]


class Classifier(Presented):
    """A network with its classes: `Classifier.load("runs/x")("cat.jpg").label`."""

    def __init__(self, model: Model) -> None:
        self.model, self.config, self.classes = model, model.config, model.classes
        self.network = folded(model.network)
        self._known = KnownImages(model)
        self._normalised = Normalization(model.config.mean, model.config.std)
        self.network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, model: str | PathLike[str]) -> Classifier:
        """Load a MODEL: a run folder, a `.sqz` or an `.onnx` file, or a pretrained name. Raises SqueezekitError."""
        return cls(load_model(model))

    def __call__(self, image: ImageInput) -> Prediction:
        """Classify one image: a path, an open file, a PIL image, or an array: uint8 [h, w] or [h, w, 3], or 0…1."""
        return self.classify([image])[0]

    def classify(self, images: Iterable[ImageInput]) -> list[Prediction]:
        """Classify images of any sizes, as one batch; raises SqueezekitError for one that cannot be read."""
        if isinstance(images, str | PathLike | Image.Image):
            raise SqueezekitError(f"classify takes a list of pictures, not a {type(images).__name__}: give [picture]")
        config = self.config
        pixels = [read_image(image, config.image_size, config.channels) for image in images]
        return self.classify_pixels(np.stack(pixels)) if pixels else []

    def classify_pixels(self, pixels: NDArray[np.uint8]) -> list[Prediction]:
        """Classify images that already have the network's size: uint8 [n, image_size, image_size, channels].

        Raises SqueezekitError for any other array, and RunFailed when the network's answer is no number.
        """
        pixels = np.array(pixels)
        expected = (self.config.image_size, self.config.image_size, self.config.channels)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != expected:
            raise SqueezekitError(
                f"an array of {pixels.dtype} {list(pixels.shape)}: give uint8 {['n', *expected]}".replace("'", "")
            )
        if not len(pixels):
            return []
        parts = torch.split(torch.from_numpy(pixels), images_at_once(self.config.image_size))
        with torch.inference_mode():
            logits = torch.cat([self.network(self._normalised(part)).float() for part in parts])
        probabilities, order = torch.softmax(logits / self.model.temperature, 1).sort(1, descending=True)
        if not torch.isfinite(probabilities).all():
            raise RunFailed(f"{self.model.name} answers with what is no number: its weights are damaged; train it again")
        known = self._known(pixels, logits).tolist()
        return [
            Prediction(
                tuple((self.classes[i], p) for i, p in zip(indices, values, strict=True)),
                values[0] < self.model.threshold,
                is_known,
            )
            for indices, values, is_known in zip(order.tolist(), probabilities.tolist(), known, strict=True)
        ]

    def _shown(self) -> Row:
        config = self.config
        image = f"{config.image_size} × {config.image_size} × {config.channels}"
        return {"model": self.model.name, "network": config.name, "classes": len(self.classes), "image": image}
