"""Provenance of a network: its images, how they were split, the recipe, the accuracy."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from squeezekit.data.image_set import ImageSet
from squeezekit.data.splits import Split, split_images
from squeezekit.modelfile.section import JsonSection
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.version import version
from squeezekit.training.run_folder import Run


class SplitRule(JsonSection):
    """The arguments of `split_images` that split the same images again, and a digest of the result."""

    title = "how its images were split"

    seed: int = Field(ge=0)
    validation_share: float = Field(ge=0, lt=1)
    limit: int = Field(ge=0)
    digest: str


class Provenance(JsonSection):
    """The section `orig`: version, image set fingerprints, split, recipe, and accuracies 0…1 by name.

    Of the recipe the name and what differs from the preset of that name.
    """

    title = "its provenance"

    squeezekit: str
    fingerprint: str
    test_fingerprint: str
    split: SplitRule
    recipe: dict[str, Any]
    accuracy: dict[str, Annotated[float, Field(ge=0, le=1)]]

    @classmethod
    def of(cls, run: Run, accuracy: dict[str, float]) -> Provenance:
        """The provenance of a network that was trained in `run`."""
        settings = run.config.run
        rule = SplitRule(
            seed=settings.seed, validation_share=settings.validation_share, limit=settings.limit, digest=_digest(run.split)
        )
        return cls(
            squeezekit=version(),
            fingerprint=run.fingerprints[0],
            test_fingerprint=run.fingerprints[1],
            split=rule,
            recipe=run.config.recipe.changes(),
            accuracy=accuracy,
        )

    def validation(self, images: ImageSet) -> NDArray[np.int64]:
        """Indices [n] of the validation images among the training `images`.

        Raises SqueezekitError where this version splits them in another way than the one that made the file.
        """
        rule = self.split
        split = split_images(images, seed=rule.seed, validation_share=rule.validation_share, limit=rule.limit or None)
        if _digest(split) != rule.digest:
            raise SqueezekitError("this squeezekit splits the images in another way than the file's did; use --split test")
        return split.validation


def _digest(split: Split) -> str:
    parts = (split.training, split.validation)
    return hashlib.sha256(b"".join(part.astype("<i8").tobytes() + b"|" for part in parts)).hexdigest()[:16]
