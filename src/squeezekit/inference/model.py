"""A MODEL, as commands and Python take it: a run folder, a `.sqz` or an `.onnx` file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from squeezekit.acceleration.folding import folded
from squeezekit.data.curation import Curation
from squeezekit.data.image_file import MOST_PIXELS
from squeezekit.data.image_set import ImageSet
from squeezekit.inference.onnx_network import read_onnx
from squeezekit.modelfile.class_names import check_class_names
from squeezekit.modelfile.none_of_these import NoneOfThese
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.config import NetworkConfig
from squeezekit.pretrained.files import model_path
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.run_folder import Run


@dataclass(frozen=True)
class Model:
    """A trained network and what is known of it.

    `data` names its images, if known; `fingerprints` are those of its training and test images, and `validation` gives
    the indices of the validation images among the training images. Probabilities are those of the logits divided by
    `temperature`; an answer below `threshold` is unsure. Of its images those of more than `max_pixels` were left out, and they
    were labelled, grouped and left out by `curation`.
    `none_of_these` tells pictures of none of the classes by integer logits; None where the file has no such rule.
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
    origin: Provenance | None = None
    max_pixels: int = MOST_PIXELS
    curation: Curation | None = None
    none_of_these: NoneOfThese | None = None

    def folded(self) -> Model:
        """The same without batch normalization, in evaluation mode."""
        return replace(self, network=folded(self.network), config=self.config.folded())


def load_model(model: str | PathLike[str]) -> Model:
    """Load a run folder, a `.sqz` or an `.onnx` file, or a pretrained model by its name; raises SqueezekitError."""
    path = model_path(model)
    if path.is_dir():
        return _of_run(Run(path))
    return _of_onnx(path) if path.suffix == ".onnx" else _of_sqz(path)


def _of_run(run: Run) -> Model:
    config, classes, summary = run.config.network, run.data.get("classes"), run.summary
    if not isinstance(classes, list):
        raise SqueezekitError(f"{run.folder}: its data.json names no classes; train again")
    try:
        check_class_names(classes, config.classes)
        validated = (summary or {}).get("validation")
        origin = Provenance.of(run, {"validation": validated["accuracy"]} if validated else {})
    except SqueezekitError as error:
        raise SqueezekitError(f"{run.folder}: {error}") from None
    except (KeyError, TypeError, ValidationError):
        raise SqueezekitError(f"{run.folder}: its data.json or summary.json is damaged; train again") from None
    return Model(
        str(run.folder),
        run.network(),
        config,
        tuple(classes),
        run.config.run.data,
        run.fingerprints,
        lambda images: run.split_of(len(images)).validation,
        origin=origin,
        max_pixels=run.config.run.max_pixels,
        curation=run.config.run.curation,
    )


def _of_sqz(path: Path) -> Model:
    sqz = read_sqz(path)
    confidence = sqz.probability_calibration or ProbabilityCalibration()
    found = _of_file(path, sqz.build(), sqz.network, sqz.classes, confidence, sqz.provenance)
    return replace(found, none_of_these=sqz.none_of_these)


def _of_onnx(path: Path) -> Model:
    network, metadata, config = read_onnx(path)
    found = _of_file(path, network, config, metadata.classes, metadata.confidence, metadata.origin)
    return replace(found, none_of_these=metadata.none_of_these)


def _of_file(
    path: Path,
    network: nn.Module,
    config: NetworkConfig,
    classes: tuple[str, ...],
    confidence: ProbabilityCalibration,
    origin: Provenance | None,
) -> Model:
    def validation(images: ImageSet) -> NDArray[np.int64]:
        if origin is None:
            raise SqueezekitError(f"{path}: does not say which images validated it; use --split test")
        return origin.validation(images)

    fingerprints = (origin.fingerprint, origin.test_fingerprint) if origin else None
    known = (confidence.temperature, confidence.threshold, origin)
    return Model(str(path), network, config, classes, None, fingerprints, validation, *known)
