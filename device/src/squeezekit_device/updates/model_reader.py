"""What an update needs of models, without PyTorch: the self-check by C. Deltas need an encoder, so whole files are fetched."""

from __future__ import annotations

from pathlib import Path

from ..device.model import read_model
from ..device.self_check import self_check_problem

apply_delta = None


def problem_of_file(path: Path) -> str | None:
    """Why a file fails its self-check, None if it passes; raises SqueezekitError for one that is no `.sqz` file."""
    return self_check_problem(read_model(path))
