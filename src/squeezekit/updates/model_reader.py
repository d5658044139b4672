"""What an update needs of models: the self-check, and deltas. On a device without PyTorch another module stands in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from squeezekit.modelfile import delta

if TYPE_CHECKING:
    # Imported where a model is checked: an update itself does without torch, which takes seconds.
    from squeezekit.modelfile.sqz import Sqz

# From the old file and a delta the new file; None where deltas cannot be applied, and whole files are fetched.
apply_delta: Callable[[bytes, bytes], bytes] | None = delta.apply_delta


def problem_of_file(path: Path) -> str | None:
    """`self_check_problem` of a file; raises SqueezekitError for one that is no `.sqz` file."""
    from squeezekit.modelfile.sqz import read_sqz

    return self_check_problem(read_sqz(path))


def self_check_problem(sqz: Sqz) -> str | None:
    """Why the network of a file fails the self-check in it, in half a sentence; None if it passes."""
    from squeezekit.modelfile.check_image import problem_of_difference

    if sqz.self_check is None:
        return "it carries no self-check"
    return problem_of_difference(sqz.self_check.difference(sqz.build(), sqz.network))
