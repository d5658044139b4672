"""A MODEL, as commands and Python take it: a run folder or a `.sqz` file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squeezekit.compression.confidence import Confidence
from squeezekit.compression.sqz import read_sqz
from squeezekit.errors import SqueezekitError
from squeezekit.images.image_set import ImageSet
from squeezekit.networks.config import NetworkConfig
from squeezekit.training.run_folder import Run


@dataclass(frozen=True)
class Model:
    """A trained network and what is known of it.

    `data` names its images, if known; `fingerprints` are those of its training and test images, and `validation` gives
    the indices of the validation images among the training images. Probabilities are those of the logits divided by
    `temperature`; an answer below `threshold` is unsure.
    """

    name: str
    network: nn.Module
    config: NetworkConfig
    classes: tuple[str, ...]
    data: str | None
    fingerprints: tuple[str, str] | None
    validation: Callable[[ImageSet], NDArray[np.int64]]
    temperature: float = 1.0
    threshold: float = 0.0


def load_model(model: str | Path) -> Model:
    """Load a run folder or a `.sqz` file; raises SqueezekitError."""
    path = Path(model).expanduser()
    if not path.exists():
        raise SqueezekitError(f"{model}: does not exist; give a run folder or a .sqz file")
    return _of_run(Run(path)) if path.is_dir() else _of_file(path)


def _of_run(run: Run) -> Model:
    config = run.config.network
    return Model(
        str(run.folder),
        run.network(),
        config,
        tuple(run.data["classes"]),
        run.config.run.data,
        run.fingerprints,
        lambda images: run.split.validation,
    )


def _of_file(path: Path) -> Model:
    sqz = read_sqz(path)
    origin, confidence = sqz.origin, sqz.confidence or Confidence()

    def validation(images: ImageSet) -> NDArray[np.int64]:
        if origin is None:
            raise SqueezekitError(f"{path}: does not say which images validated it; use --split test")
        return origin.validation(images)

    return Model(
        str(path),
        sqz.build(),
        sqz.network,
        sqz.classes,
        None,
        (origin.fingerprint, origin.test_fingerprint) if origin else None,
        validation,
        confidence.temperature,
        confidence.threshold,
    )
