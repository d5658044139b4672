"""The classifier of a device: pictures in, classes and probabilities out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from ..data.image_file import MOST_PIXELS, ImageInput, read_pixels
from .model import read_model
from .network import DeviceNetwork


@dataclass(frozen=True)
class DeviceAnswer:
    """Classes with their probabilities 0…1, the most probable first.

    `unsure` says that the first is less probable than the file's threshold for right answers; `known` is False for a picture of
    none of the classes.
    """

    probabilities: tuple[tuple[str, float], ...]
    unsure: bool
    known: bool


class DeviceClassifier:
    """`Classifier("model.sqz").predict("photo.jpg")[0]` is the most probable class with its probability.

    Raises SqueezekitError for a file that is no whole `.sqz` file or holds a network that has no integer form, RunFailed on a
    machine that there is no code for. Threads may share one.
    """

    def __init__(self, model: str | PathLike[str]) -> None:
        # Floats are for the self-check alone.
        self.model = replace(read_model(Path(model)), tensors={})
        self.classes = self.model.classes
        self._network = DeviceNetwork(self.model.plan)

    def predict(self, image: ImageInput, *, max_pixels: int = MOST_PIXELS) -> list[tuple[str, float]]:
        """Classes of a picture with their probabilities 0…1, the most probable first.

        image: a path, an open binary file, or a PIL image. Raises SqueezekitError for what is no picture.
        """
        return list(self.answer(image, max_pixels=max_pixels).probabilities)

    def answer(self, image: ImageInput, *, max_pixels: int = MOST_PIXELS) -> DeviceAnswer:
        """The same, and whether it is sure."""
        structure = self.model.structure
        return self.answer_to(self.logits(read_pixels(image, structure.side, structure.channels, max_pixels=max_pixels)))

    def logits(self, pixels: bytes) -> list[int]:
        """Logits of an image [side][side][channels], one a class, in units of 2**-fraction of the plan."""
        return self._network(pixels)

    def answer_to(self, logits: list[int]) -> DeviceAnswer:
        """The answer that logits mean."""
        model, fraction = self.model, self.model.plan.fraction
        unit, most = 2.0**-fraction / model.temperature, max(logits)
        shares = [math.exp((logit - most) * unit) for logit in logits]
        total = sum(shares)
        ranked = sorted(zip(self.classes, (share / total for share in shares), strict=True), key=lambda each: -each[1])
        known = model.known_rule is None or model.known_rule.knows(logits, fraction)
        return DeviceAnswer(tuple(ranked), ranked[0][1] < model.threshold, known)
