"""Where a compressed network came from: the images, how they were divided, the recipe, the accuracy."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.image_set import ImageSet
from squeezekit.data.splits import Split, split_training
from squeezekit.modelfile.section import Section
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.version import version
from squeezekit.training.run_folder import Run


class SplitRule(Section):
    """What `split_training` needs to divide the same images again, and a digest of what comes out."""

    subject = "how its images were divided"

    seed: int
    validation_share: float
    limit: int
    digest: str


class Provenance(Section):
    """The section `orig`. Fingerprints are those of `ImageSet`; accuracies are 0…1, by name."""

    subject = "where it came from"

    squeezekit: str
    fingerprint: str
    test_fingerprint: str
    split: SplitRule
    recipe: dict[str, Any]
    accuracy: dict[str, float]

    @classmethod
    def of(cls, run: Run, accuracy: dict[str, float]) -> Provenance:
        """Of a network that was compressed from a run."""
        settings = run.config.run
        rule = SplitRule(
            seed=settings.seed, validation_share=settings.validation_share, limit=settings.limit, digest=_digest(run.split)
        )
        return cls(
            squeezekit=version(),
            fingerprint=run.fingerprints[0],
            test_fingerprint=run.fingerprints[1],
            split=rule,
            recipe=run.config.recipe.model_dump(mode="json"),
            accuracy=accuracy,
        )

    def validation(self, images: ImageSet) -> NDArray[np.int64]:
        """Indices of the validation images among the training images; raises SqueezekitError."""
        rule = self.split
        split = split_training(
            images.labels,
            classes=images.classes,
            seed=rule.seed,
            validation_share=rule.validation_share,
            limit=rule.limit or None,
        )
        if _digest(split) != rule.digest:
            raise SqueezekitError("this squeezekit divides the images in another way than the file's; use --split test")
        return split.validation


def _digest(split: Split) -> str:
    parts = (split.training, split.validation)
    return hashlib.sha256(b"".join(part.astype("<i8").tobytes() + b"|" for part in parts)).hexdigest()[:16]
