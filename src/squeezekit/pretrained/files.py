"""The pretrained models, found by name: files of the package, and those that are downloaded at first use."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from squeezekit.pretrained.published import PUBLISHED, published_path
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

FILES = Path(__file__).parent / "models"


def pretrained_names() -> list[str]:
    """The names of those in the package, the smallest file first."""
    return [path.stem for path in sorted(FILES.glob("*.sqz"), key=lambda path: path.stat().st_size)]


def known_names() -> list[str]:
    """Every name, those that are downloaded at first use last."""
    return [*pretrained_names(), *PUBLISHED]


def model_path(model: str | PathLike[str]) -> Path:
    """Where a MODEL lies: a path of one's own, or else the file of a pretrained model, downloaded if need be.

    A run folder, a `.sqz` or an `.onnx` file in the current directory comes before a pretrained model of the same name.
    Raises SqueezekitError.
    """
    name = fspath(model)
    path = expanded(name)
    if path.exists():
        return path
    if name in pretrained_names():
        return FILES / f"{name}.sqz"
    if name in PUBLISHED:
        return published_path(name)
    known = ", ".join(known_names())
    raise SqueezekitError(f"{name}: does not exist; give a run folder, a .sqz or an .onnx file, or one of {known}")
