"""Whether a model answers as it should, tried in a process of its own, which may die without harm.

`python -m squeezekit.updates.self_check_trial MODEL.sqz SECONDS` ends with exit code 0, or with UNFIT and a reason on
standard output.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from squeezekit.modelfile.self_check import TOLERANCE
from squeezekit.modelfile.sqz import Sqz, read_sqz
from squeezekit.system.errors import SqueezekitError

SECONDS = 120.0
UNFIT = 3
# Three small pictures: threads that wait for each other on a busy machine would cost more than they bring.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Verdict:
    """Why a model cannot be used, in a few words, or nothing; `unfit` where that is the model's own fault for sure."""

    reason: str = ""
    unfit: bool = False


def tried(model: Path, seconds: float = SECONDS) -> Verdict:
    """The verdict on the model in a file."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "squeezekit.updates.self_check_trial", str(model), str(seconds)],
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


def difference(sqz: Sqz) -> str | None:
    """Why the network of a file does not answer as the file says, in a few words; None if it does."""
    if sqz.self_check is None:
        return "it carries no self-check"
    found = sqz.self_check.difference(sqz.build(), sqz.network)
    return None if found < TOLERANCE else f"it fails its self-check, its answers differ by {100 * found:.3g} % of the largest"


def _main(model: str, seconds: str) -> int:
    if hasattr(signal, "alarm"):
        # Whatever becomes of the process that asked.
        signal.alarm(int(float(seconds)) + 1)
    try:
        reason = difference(read_sqz(Path(model)))
    except SqueezekitError as error:
        reason = str(error)
    print(reason or "")
    return UNFIT if reason else 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
