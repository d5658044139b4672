"""What `squeezekit doctor` finds: versions, the machine, the cache, what is missing, and what to do about each problem.

Packages are imported in another process: one that is broken ends that one, and is named here. This module itself needs none of
them but `packaging`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from squeezekit.system.machine import memory_bytes, processor_name
from squeezekit.system.presentation import Presented
from squeezekit.system.processors import usable_processors
from squeezekit.system.requirements import Unmet, extras_of, installed_version, needs, not_met, unmet
from squeezekit.system.version import version

# What an extra brings. Those of developers are not among them.
EXTRAS = {
    "c": "a C compiler for every target (zig)",
    "onnx": "export --format onnx, and .onnx files as MODEL",
    "postgres": "search --storage postgresql://…",
    "ray": "search --cluster",
    "serve": "serve",
    "teacher": "train --teacher efficientnet-lite0",
    "tflite": "export --format tflite",
    "updates": "keys, publish, update",
}
# Modules that are not called as their packages are.
MODULES = {"pillow": "PIL", "scikit-learn": "sklearn", "tomli-w": "tomli_w"}
# What matters of a processor, as torch calls it, and for what.
INSTRUCTIONS = {
    "avx2": ("AVX2", "training, and C with vectors"),
    "avx512_f": ("AVX-512", "training with wider vectors"),
    "avx512_vnni": ("AVX-512 VNNI", "int8: C with vectors"),
    "avx_vnni": ("AVX-VNNI", "int8: C with vectors"),
    "avx512_bf16": ("AVX-512 BF16", "training in bf16, chosen by itself"),
    "amx_bf16": ("AMX", "bf16 in matrix units"),
    "neon": ("NEON", "training, and C with vectors"),
    "dot": ("dot product", "int8: C with vectors"),
    "i8mm": ("I8MM", "int8: C with vectors, faster still"),
    "bf16": ("bf16", "bf16 in hardware"),
}
COMPILERS = ("cc", "gcc", "clang", "cl")
TRIAL_SECONDS = 300
# A cache of more files is counted no further.
MOST_FILES = 200_000


@dataclass(frozen=True)
class InstallationProblem:
    """One sentence that says what to do; `stops` where work cannot go on before that."""

    sentence: str
    stops: bool


@dataclass(frozen=True)
class Extra:
    """An optional part: what it `brings`, which packages are `missing`, none where it is installed, and how it is installed."""

    name: str
    brings: str
    missing: tuple[str, ...]
    pip: str


@dataclass(frozen=True)
class Cache:
    """The cache folder, None for a user without one: `bytes` in at least so many `files`, and whether it can be written."""

    folder: str | None
    bytes: int
    files: int
    writable: bool


@dataclass(frozen=True)
class Diagnosis(Presented):
    """Everything that was found.

    `packages` has a version for each needed package, None where it is missing; `instructions` those of the processor that matter,
    with what for; `used` and `threads` what torch computes with; memory is in bytes. What torch would have to tell is None or
    empty where it cannot be imported.
    """

    squeezekit: str
    python: str
    system: str
    packages: dict[str, str | None]
    processor: str
    cores: int
    usable_cores: int
    instructions: dict[str, str]
    used: str | None
    threads: int | None
    memory: int | None
    cuda: str | None
    gpus: tuple[dict[str, Any], ...]
    cache: Cache
    kernels: str
    compiler: str | None
    extras: tuple[Extra, ...]
    problems: tuple[InstallationProblem, ...]

    @property
    def well(self) -> bool:
        """Whether nothing stops work."""
        return not any(problem.stops for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"well": self.well, **asdict(self)}


def diagnose() -> Diagnosis:
    """Look at this installation and this machine; takes as long as importing everything once. Changes nothing."""
    required = [requirement.name for requirement in needs("squeezekit")]
    found, failed = _trial([MODULES.get(name.lower(), name) for name in required])
    torch, cache = found.get("torch") or {}, _cache(found.get("cache"))
    there = set(torch.get("instructions", ()))
    extras = tuple(_extra(name) for name in extras_of("squeezekit") if name in EXTRAS)
    problems = (*_of_packages(failed), *_of_extras(extras), *_of_torch(torch), *_of_cache(cache, found.get("cache_problem")))
    return Diagnosis(
        squeezekit=version(),
        python=platform.python_version(),
        system=platform.platform(),
        packages={name: installed_version(name) for name in required},
        processor=processor_name(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_processors(),
        instructions={name: what for key, (name, what) in INSTRUCTIONS.items() if key in there},
        used=torch.get("used"),
        threads=torch.get("threads"),
        memory=memory_bytes(),
        cuda=torch.get("cuda"),
        gpus=tuple(torch.get("gpus", ())),
        cache=cache,
        kernels=found.get("kernels", "not known"),
        compiler=next(filter(None, map(shutil.which, COMPILERS)), None),
        extras=extras,
        problems=problems,
    )


def _trial(modules: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What another process finds, and why modules cannot be imported."""
    # -P: no module of the working directory takes the place of one of Python's.
    command = [sys.executable, "-P", "-m", "squeezekit.workflows.import_trial", *modules]
    try:
        nowhere = subprocess.DEVNULL
        done = subprocess.run(command, stdin=nowhere, stdout=subprocess.PIPE, stderr=nowhere, timeout=TRIAL_SECONDS)
        written, ended = done.stdout, f"it ends Python, exit code {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        written, ended = error.stdout or b"", f"that takes more than {TRIAL_SECONDS} s"
    facts: dict[str, Any] = {}
    failed: dict[str, str] = {}
    trying = "squeezekit"
    # The last line may be cut off where the process was ended.
    for line in map(json.loads, written[: written.rfind(b"\n") + 1].splitlines()):
        trying = line.pop("trying", trying)
        if "failed" in line:
            failed.setdefault(line["failed"], line["why"])
        else:
            facts |= line
    if ended:
        failed.setdefault(trying, ended)
    return facts, failed


def _of_packages(failed: dict[str, str]) -> Iterator[InstallationProblem]:
    """Versions first, since what is too old often cannot be imported either."""
    if not needs("squeezekit"):
        yield InstallationProblem(
            "squeezekit is used without being installed, so that nothing is known of what it needs: pip install .", True
        )
        return
    blamed = set()
    for each in unmet("squeezekit"):
        direct = each.needed_by == "squeezekit"
        blamed.add(MODULES.get(each.package.lower(), each.package))
        yield InstallationProblem(_unmet_sentence(each), stops=direct or each.installed is None)
    for module, why in failed.items():
        if module not in blamed:
            name = next((package for package, called in MODULES.items() if called == module), module)
            yield InstallationProblem(f"{name} cannot be imported ({why}): pip install --force-reinstall {name}", stops=True)


def _of_extras(extras: Sequence[Extra]) -> Iterator[InstallationProblem]:
    """Of those that are installed."""
    for extra in extras:
        wrong = [not_met("squeezekit", requirement) for requirement in needs("squeezekit", extra.name)]
        if not extra.missing:
            yield from (InstallationProblem(_unmet_sentence(each), stops=False) for each in wrong if each)


def _of_torch(torch: dict[str, Any]) -> Iterator[InstallationProblem]:
    # On Arm its lowest level has vectors.
    if torch and torch["used"] in ("DEFAULT", "NO AVX") and platform.machine().lower() in ("x86_64", "amd64"):
        sentence = "torch uses no vector instructions and is slow: unset ATEN_CPU_CAPABILITY, or use a processor that has AVX2"
        yield InstallationProblem(sentence, stops=False)


def _of_cache(cache: Cache, problem: str | None) -> Iterator[InstallationProblem]:
    if problem:
        yield InstallationProblem(problem, stops=True)
    elif cache.folder and not cache.writable:
        sentence = (
            f"the cache folder {cache.folder} cannot be written: change its permissions, or set SQUEEZEKIT_CACHE to another"
        )
        yield InstallationProblem(sentence, stops=True)


def _unmet_sentence(each: Unmet) -> str:
    there = f"{each.package} {each.installed} is installed" if each.installed else f"{each.package} is missing"
    return f"{there}, and {each.needed_by} needs {each.requirement}: pip install '{each.requirement}'"


def _extra(name: str) -> Extra:
    missing = tuple(each.name for each in needs("squeezekit", name) if installed_version(each.name) is None)
    return Extra(name, EXTRAS[name], missing, f"pip install 'squeezekit[{name}]'")


def _cache(folder: str | None) -> Cache:
    if folder is None:
        return Cache(None, 0, 0, False)
    sizes = list(_sizes(Path(folder)))
    return Cache(folder, sum(sizes), len(sizes), _can_be_written(Path(folder)))


def _sizes(folder: Path) -> Iterator[int]:
    """Of the files below a folder, which may come and go meanwhile."""
    count = 0
    for place, _folders, names in os.walk(folder):
        for name in names:
            count += 1
            if count > MOST_FILES:
                return
            try:
                yield (Path(place) / name).lstat().st_size
            except OSError:
                continue


def _can_be_written(folder: Path) -> bool:
    """By a file that is gone at once; a folder that is not there yet is made where the nearest one above it lets one be made."""
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
