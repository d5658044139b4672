"""The self-check of a model, run in a process of its own, which may crash without harm.

`python -m squeezekit.updates.self_check_process MODEL.sqz TIMEOUT_SECONDS` ends with exit code 0, or with UNFIT and a reason on
standard output.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from squeezekit.system.errors import SqueezekitError

if TYPE_CHECKING:
    # Imported where a model is checked: an update itself does without torch, which takes seconds.
    from squeezekit.modelfile.sqz import Sqz

TIMEOUT_SECONDS = 120.0
UNFIT = 3
# Three small images: more threads would wait for each other longer than they compute.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Verdict:
    """Why a model cannot be used, empty where it can; `unfit` where the model itself is certainly at fault."""

    reason: str = ""
    unfit: bool = False


def run_self_check(model: Path, seconds: float = TIMEOUT_SECONDS) -> Verdict:
    """Check the model in a file, in a process of its own, for at most `seconds`."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "squeezekit.updates.self_check_process", str(model), str(seconds)],
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(f"its check did not end within {seconds:g} seconds")
    if done.returncode == UNFIT:
        return Verdict(done.stdout.strip(), unfit=True)
    return Verdict(f"the process that checked it ended with code {done.returncode}" if done.returncode else "")


def self_check_problem(sqz: Sqz) -> str | None:
    """Why the network of a file fails the self-check in it, in half a sentence; None if it passes."""
    from squeezekit.modelfile.self_check import TOLERANCE

    if sqz.self_check is None:
        return "it carries no self-check"
    found = sqz.self_check.difference(sqz.build(), sqz.network)
    return None if found < TOLERANCE else f"it fails its self-check, its answers differ by {100 * found:.3g} % of the largest"


def _main(model: str, seconds: str) -> int:
    from squeezekit.modelfile.sqz import read_sqz

    if hasattr(signal, "alarm"):
        # Also where the parent has been killed.
        signal.alarm(int(float(seconds)) + 1)
    try:
        reason = self_check_problem(read_sqz(Path(model)))
    except SqueezekitError as error:
        reason = str(error)
    print(reason or "")
    return UNFIT if reason else 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
