"""Train, search, squeeze and ship image classifiers under half a megabyte.

import squeezekit as sk

run = sk.train("digits", out="runs/digits")
print(sk.evaluate(run.folder).accuracy)
small = sk.compress(run.folder, "digits.sqz")
print(sk.Classifier.load("digits.sqz")("three.png").label)
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from squeezekit.system.errors import RunFailed, SqueezekitError

# For torch's threads, which read it when torch is imported: one that waits for another leaves its processor to other programs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:
    from squeezekit.export.formats import export
    from squeezekit.inference.classifier import Classifier
    from squeezekit.inference.evaluation import evaluate
    from squeezekit.networks.registry import register_network
    from squeezekit.pretrained.facts import list_models
    from squeezekit.pretrained.import_model import import_model
    from squeezekit.search.crossval import cross_validate
    from squeezekit.search.search import search
    from squeezekit.workflows.check import check
    from squeezekit.workflows.compress import compress
    from squeezekit.workflows.fine_tune import fine_tune
    from squeezekit.workflows.make import make
    from squeezekit.workflows.train import train

    __version__: str

__all__ = [
    "Classifier",
    "RunFailed",
    "SqueezekitError",
    "__version__",
    "check",
    "compress",
    "cross_validate",
    "evaluate",
    "export",
    "fine_tune",
    "import_model",
    "list_models",
    "make",
    "register_network",
    "search",
    "train",
]

# Imported when first asked for: torch takes seconds. `export` and `search` are packages that can be called.
_MODULES = {
    "Classifier": "inference.classifier",
    "check": "workflows.check",
    "compress": "workflows.compress",
    "cross_validate": "search.crossval",
    "evaluate": "inference.evaluation",
    "export": "export",
    "fine_tune": "workflows.fine_tune",
    "import_model": "pretrained.import_model",
    "list_models": "pretrained.facts",
    "make": "workflows.make",
    "register_network": "networks.registry",
    "search": "search",
    "train": "workflows.train",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("squeezekit.system.version").version()
    if name not in _MODULES:
        raise AttributeError(f"module 'squeezekit' has no attribute '{name}'")
    module = importlib.import_module(f"squeezekit.{_MODULES[name]}")
    return module if name == _MODULES[name] else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
