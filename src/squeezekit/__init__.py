"""Train, search, squeeze and ship image classifiers under half a megabyte.

import squeezekit

run = squeezekit.train("digits", out="runs/digits")
print(squeezekit.evaluate(run.folder).accuracy)
classifier = squeezekit.Classifier.load(run.folder)
print(classifier("three.png").label)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from squeezekit.system.errors import RunFailed, SqueezekitError

if TYPE_CHECKING:
    from squeezekit.inference.classifier import Classifier
    from squeezekit.inference.evaluation import evaluate
    from squeezekit.workflows.fine_tune import fine_tune
    from squeezekit.workflows.train import train

__all__ = ["Classifier", "RunFailed", "SqueezekitError", "evaluate", "fine_tune", "train"]

# Imported when first asked for: torch takes seconds, and `squeezekit --help` should not.
_ROOMS = {
    "train": "workflows.train",
    "evaluate": "inference.evaluation",
    "fine_tune": "workflows.fine_tune",
    "Classifier": "inference.classifier",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'squeezekit' has no attribute '{name}'")
    return getattr(importlib.import_module(f"squeezekit.{_ROOMS[name]}"), name)
