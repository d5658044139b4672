"""The self-check of a model, run in a process of its own, which may crash without harm.

`python -m squeezekit.updates.self_check_process MODEL.sqz TIMEOUT_SECONDS` ends with exit code 0, or with UNFIT or POSTPONED
and a reason on standard output.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..system.errors import SqueezekitError

TIMEOUT_SECONDS = 120.0
UNFIT, POSTPONED = 3, 75
# The model's doing or not, nobody knows: the system's, which ends processes when memory is short, and the alarm's.
NOT_CRASHES = (signal.SIGKILL, signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if os.name == "posix" else ()
# Three small images: more threads would wait for each other longer than they compute.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Verdict:
    """Why a model cannot be used, empty where it can; `unfit` where the model itself is certainly at fault.

    `crashed` where the process died of what it did; otherwise it was stopped, or lacked memory, space or time.
    """

    reason: str = ""
    unfit: bool = False
    crashed: bool = False


def run_self_check(model: Path, seconds: float = TIMEOUT_SECONDS) -> Verdict:
    """Check the model in a file, in a process of its own, for at most `seconds`."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", f"{__package__}.self_check_process", str(model), str(seconds)],
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(f"its check did not end within {seconds:g} seconds")
    except OSError as error:
        return Verdict(f"its check could not begin ({error.strerror})")
    if done.returncode in (UNFIT, POSTPONED) and done.stdout.strip():
        return Verdict(done.stdout.strip(), unfit=done.returncode == UNFIT)
    if done.returncode >= 0:
        return Verdict(f"the process that checked it ended with code {done.returncode}" if done.returncode else "")
    name = signal.Signals(-done.returncode).name
    return Verdict(f"the process that checked it was ended by {name}", crashed=-done.returncode not in NOT_CRASHES)


def _main(model: str, seconds: str) -> int:
    # Imported where a model is checked: an update itself does without PyTorch, which takes seconds.
    from .model_reader import problem_of_file

    if hasattr(signal, "alarm"):
        # Also where the parent has been killed.
        signal.alarm(int(float(seconds)) + 1)
    code, reason = UNFIT, None
    try:
        reason = problem_of_file(Path(model))
    except SqueezekitError as error:
        code, reason = POSTPONED if _of_the_moment(error) else UNFIT, str(error)
    except Exception as error:
        code, reason = POSTPONED, f"its check could not be made ({type(error).__name__}: {error})"
    print(" ".join((reason or "").split()))
    return code if reason else 0


def _of_the_moment(error: BaseException | None) -> bool:
    """Whether an error came of a full disk, of too little memory or of a damaged installation, and not of the file."""
    while error is not None:
        lacking = not isinstance(error, SqueezekitError) and "memory" in str(error)
        if lacking or isinstance(error, OSError | MemoryError | ImportError):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
