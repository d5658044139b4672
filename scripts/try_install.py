"""Install the wheel into new environments, and use it there.

    python scripts/try_install.py [--python python3.11 python3.12 …] [--oldest] [--wheel FILE] [--extras serve,onnx]

For each Python an environment with the wheel, which is built here unless given (by hatchling), and what it asks for, from pip's
index: in the versions of constraints.txt, or with --oldest in those of constraints-oldest.txt and of constraints.txt torch alone.
There, outside of the clone: `doctor`, `predict`, a small network for two epochs on the digits, `compress --minutes 0`,
`evaluate`. Prints one JSON line an environment, and ends with 1 where one failed; one after the other, so that two cores suffice.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "examples" / "three.png"
COMMANDS = (
    ("doctor", "--json"),
    ("predict", "digits-nano", str(PICTURE)),
    ("train", "--data", "digits", "--epochs", "2", "--base-e", "32", "--incr-e", "16", "--stem-width", "16", "-o", "run"),
    ("compress", "run", "--minutes", "0", "-o", "digits.sqz"),
    ("evaluate", "run"),
)
MINUTES = 30


def built_wheel(out: Path) -> Path:
    """The wheel of this clone."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=ROOT, check=True, stdout=2)
    (wheel,) = out.glob("*.whl")
    return wheel


def constraints(oldest: bool, folder: Path) -> Path:
    """The file that pip is given."""
    newest = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    if not oldest:
        return ROOT / "constraints.txt"
    torch = re.findall(r"^torch==.*$", newest, re.MULTILINE)
    path = folder / "constraints.txt"
    path.write_text("\n".join([(ROOT / "constraints-oldest.txt").read_text(encoding="utf-8"), *torch, ""]), encoding="utf-8")
    return path


def run(command: list[str | Path], folder: Path) -> dict[str, Any]:
    """What became of a command: seconds, exit code, and the last line of what it printed or, where it failed, of its errors."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SQUEEZEKIT_CACHE")}
    variables |= {"SQUEEZEKIT_CACHE": str(folder / "cache"), "SQUEEZEKIT_KERNELS": "0"}
    begin = time.monotonic()
    try:
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=MINUTES * 60)
    except subprocess.TimeoutExpired:
        return {"seconds": MINUTES * 60, "code": 124, "said": f"not done after {MINUTES} minutes"}
    # With problems, `doctor --json` ends with 1 and says them all the same.
    told = done.stdout if not done.returncode or done.stdout.startswith("{") else done.stderr
    said = told.strip().splitlines()
    return {
        "seconds": round(time.monotonic() - begin, 1),
        "code": done.returncode,
        "said": said[-1].replace(str(ROOT), "") if said else "",
    }


def tried(python: str, wheel: Path, extras: str, oldest: bool) -> dict[str, Any]:
    """One environment, made, used and removed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([python, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        bin_ = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        of = f"{wheel}[{extras}]" if extras else str(wheel)
        pip = [sys.executable, "-m", "pip", "--python", folder / "venv", "--quiet", "--disable-pip-version-check"]
        steps = {"install": run([*pip, "install", "-c", constraints(oldest, folder), of], folder)}
        for command in COMMANDS if not steps["install"]["code"] else ():
            steps[command[0]] = run([bin_ / "squeezekit", *command], folder)
        found = json.loads(steps["doctor"].pop("said")) if steps.get("doctor", {}).get("said", "").startswith("{") else {}
        size = sum(path.lstat().st_size for path in folder.joinpath("venv").rglob("*") if path.is_file())
        version = subprocess.run(
            [python, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True
        )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": version.stdout.strip(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": "oldest" if oldest else "constraints.txt",
        "extras": extras,
        "megabytes": round(size / 1e6),
        "packages": found.get("packages", {}),
        "problems": [problem["sentence"] for problem in found.get("problems", ())],
        "steps": steps,
        "works": not any(step["code"] for step in steps.values()),
    }


def main() -> int:
    """Every Python in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="PROGRAM")
    parser.add_argument("--oldest", action="store_true", help="of every package but torch the oldest version that is allowed")
    parser.add_argument("--wheel", type=Path, metavar="FILE")
    parser.add_argument("--extras", default="", metavar="NAMES", help="with commas between them")
    given = parser.parse_args()
    works = True
    with tempfile.TemporaryDirectory() as folder:
        wheel = given.wheel.resolve() if given.wheel else built_wheel(Path(folder))
        for python in given.python:
            if not shutil.which(python):
                parser.error(f"{python} is not a program here")
            row = tried(python, wheel, given.extras, given.oldest)
            print(json.dumps(row), flush=True)
            works &= row["works"]
    return 0 if works else 1


if __name__ == "__main__":
    sys.exit(main())
