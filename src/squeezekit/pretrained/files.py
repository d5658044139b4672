"""The pretrained models: files of the package, found by name."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

FILES = Path(__file__).parent / "models"


def pretrained_names() -> list[str]:
    """Every name, the smallest file first."""
    return [path.stem for path in sorted(FILES.glob("*.sqz"), key=lambda path: path.stat().st_size)]


def model_path(model: str | PathLike[str]) -> Path:
    """Where a MODEL lies: a path of one's own, or else the file of a pretrained model; raises SqueezekitError.

    A run folder, a `.sqz` or an `.onnx` file in the current directory comes before a pretrained model of the same name.
    """
    name = fspath(model)
    path = expanded(name)
    if path.exists():
        return path
    if name in pretrained_names():
        return FILES / f"{name}.sqz"
    known = ", ".join(pretrained_names())
    raise SqueezekitError(f"{name}: does not exist; give a run folder, a .sqz or an .onnx file, or one of {known}")
