"""Whether a model answers as it should, tried in a process of its own, which may die without harm.

python -m squeezekit.updates.trial MODEL.sqz     exit code 0, or 1 and a reason on standard output
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from squeezekit.compression.self_check import TOLERANCE
from squeezekit.compression.sqz import Sqz, read_sqz
from squeezekit.errors import SqueezekitError

SECONDS = 120.0
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def problem(model: Path, seconds: float = SECONDS) -> str | None:
    """Why the model in a file is not fit for use, in a few words; None if it is."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "squeezekit.updates.trial", str(model)],
            # Three small pictures: threads that wait for each other on a busy machine would cost more than they bring.
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its self-check did not end within {seconds:g} seconds"
    if done.returncode == 0:
        return None
    reason = done.stdout.strip().splitlines()[-1:]
    return reason[0] if done.returncode == 1 and reason else f"the process that tried it ended with code {done.returncode}"


def difference(sqz: Sqz) -> str | None:
    """Why the network of a file does not answer as the file says, in a few words; None if it does."""
    if sqz.self_check is None:
        return "it carries no self-check"
    found = sqz.self_check.difference(sqz.build(), sqz.network)
    return None if found < TOLERANCE else f"it fails its self-check, its answers differ by {100 * found:.3g} % of the largest"


if __name__ == "__main__":
    try:
        reason = difference(read_sqz(Path(sys.argv[1])))
    except SqueezekitError as error:
        reason = str(error)
    if reason:
        print(reason)
    sys.exit(1 if reason else 0)
