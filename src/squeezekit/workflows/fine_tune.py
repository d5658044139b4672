"""Training that starts from a trained MODEL: a run folder, a `.sqz` file, the name of a pretrained network."""

from __future__ import annotations

from os import fspath
from pathlib import Path
from typing import Any

from squeezekit.inference.model import load_model
from squeezekit.inference.onnx_network import OnnxNetwork
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.fine_tuning import StartingPoint
from squeezekit.training.run_folder import Run
from squeezekit.training.train import train


def fine_tune(model: str | Path, data: Any = None, **options: Any) -> Run:
    """Train from the weights of a MODEL in place of random ones; images are resized and normalized as it has them.

    Everything but the last layer is kept; that too where there are as many classes, whatever their names. `options` are those of
    `train`. Raises SqueezekitError, also for an `.onnx` file, which holds no network to train.
    """
    return train(data, init_from=starting_point(model), **options)


def starting_point(model: str | Path) -> StartingPoint:
    """A MODEL, for `training.train.train`; raises SqueezekitError."""
    loaded = load_model(model)
    if isinstance(loaded.network, OnnxNetwork):
        raise SqueezekitError(f"{model}: cannot be trained; give a .sqz file, a run folder, or a name in squeezekit models")
    known = (loaded.fingerprints, loaded.validation, loaded.classes)
    return StartingPoint(fspath(model), loaded.network, loaded.config, *known)
