"""How soon does `squeezekit compress` answer, and how much smaller does its file become afterwards?

    python benchmarks/compression_time.py RUN [--flags="--max-drop 0.5" …] [--rounds 1]

The command runs in a process of its own, once for each `--flags`. Its first answer is the first file that is there, its last one
what is there when it ends. Prints one JSON line a command: for the first and the last answer bytes and seconds, on the clock and
of all processors, both from the start of the process; the accuracies that the command says; and the load of the machine, the mean
number of programs that wanted a processor in the last minute, before and after. On Linux, whose /proc says what a process has
used.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

POLL = 0.05


def processor_seconds(pid: int) -> float:
    """Of a process, those of its ended children included."""
    # Behind the name, which may hold anything: utime, stime, cutime, cstime in ticks (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def measured(run: Path, flags: str) -> dict[str, Any]:
    """One command."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "answer.sqz"
        command = [sys.executable, "-m", "squeezekit", "compress", str(run), "-o", str(file), "--json", *shlex.split(flags)]
        load, used = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not file.exists():
            time.sleep(POLL)
        first = None
        if process.poll() is None:
            used_until_then, bytes_then = processor_seconds(process.pid), file.stat().st_size
            first = {"seconds": time.perf_counter() - begin, "processor_s": used_until_then, "bytes": bytes_then}
        said, errors = process.communicate()
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    # 1: the target is not met, the nearest file is there all the same.
    if process.returncode not in (0, 1):
        sys.exit(f"{shlex.join(command)} failed:\n{errors}")
    result = json.loads(said)
    processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    last = {"seconds": seconds, "processor_s": processor, "bytes": result["bytes"]}
    # One that was there and gone between two looks was the last one.
    answers = {"first": first or last, "last": last}
    rounded = {name: {key: round(value, 1) for key, value in answer.items()} for name, answer in answers.items()}
    written = {"setting": result["stages"][-1]["name"], "met_target": result["met_target"]}
    accuracies = {"judged_by": result["judged_by"], "validation": result["validation"], "test": result["test"]}
    loads = [round(load, 1), round(os.getloadavg()[0], 1)]
    return {"run": run.name, "flags": flags, **rounded, **written, **accuracies, "load": loads}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--flags", nargs="+", default=["--max-drop 0.5"], help="of compress, one text a command")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    for _ in range(arguments.rounds):
        for flags in arguments.flags:
            print(json.dumps(measured(arguments.run, flags)), flush=True)
