"""`squeezekit doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from squeezekit.cli.parser import Parser
from squeezekit.system.errors import RunFailed
from squeezekit.system.standard_output import show, show_json

if TYPE_CHECKING:
    from squeezekit.workflows.doctor import Diagnosis, Extra

WIDTH = 14
KERNELS = {
    "not compiled": "not compiled; the first training has it done in the background",
    "off": "off, by SQUEEZEKIT_KERNELS=0: training is slower",
}


def add_arguments(parser: Parser) -> None:
    """The flags of `doctor`."""
    parser.explain("doctor", "doctor --json", usage="[--json]", notes="Changes nothing. Exit code 1: something stops work.")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, json: bool = False) -> int:
    """Say what this installation and this machine are, and what is wrong with them; 1 where something stops work."""
    try:
        from squeezekit.workflows.doctor import diagnose
    except ImportError as error:
        raise RunFailed(f"{error.name} is missing: pip install {str(error.name).partition('.')[0]}") from None

    found = diagnose()
    if json:
        show_json(found.as_json())
    else:
        for name, text in _lines(found):
            show(f"{name:<{WIDTH}}{text}")
    return 0 if found.well else 1


def _lines(found: Diagnosis) -> list[tuple[str, str]]:
    """What a reader sees: a name and a text each."""
    packages = ", ".join(f"{name} {there or 'missing'}" for name, there in found.packages.items())
    return [
        ("squeezekit", f"{found.squeezekit}, Python {found.python}, {found.system}"),
        ("packages", packages or "not known"),
        *_machine(found),
        ("cache", _cache(found)),
        ("kernels", KERNELS.get(found.kernels, found.kernels)),
        ("C compiler", found.compiler or "none; only building exported C needs one"),
        *(("extra", _extra(extra)) for extra in found.extras),
        *(("PROBLEM" if problem.stops else "remark", problem.sentence) for problem in found.problems),
        ("result", _result(found)),
    ]


def _machine(found: Diagnosis) -> list[tuple[str, str]]:
    cores = f"{found.cores} cores, of which this process may use {found.usable_cores}"
    memory = f"{found.memory / 2**30:.1f} GiB" if found.memory else "not known"
    gpus = ", ".join(f"{gpu['name']}, {gpu['bytes'] / 2**30:.0f} GiB" for gpu in found.gpus)
    without = f"none, though torch is built for CUDA {found.cuda}; its build for CPUs is smaller" if found.cuda else "none"
    torch = [("torch uses", f"{found.used}, threads: {found.threads}")] if found.used else []
    return [
        ("processor", f"{found.processor}; {cores}"),
        *(("", f"{name}: {what}") for name, what in found.instructions.items()),
        *torch,
        ("memory", memory),
        ("GPU", gpus or without),
    ]


def _cache(found: Diagnosis) -> str:
    if found.cache.folder is None:
        return "none"
    state = "can be written" if found.cache.writable else "cannot be written"
    return f"{found.cache.folder}: {found.cache.bytes / 1e6:,.1f} MB in {found.cache.files:,} files, {state}"


def _extra(extra: Extra) -> str:
    if extra.missing:
        return f"{extra.name}: missing {', '.join(extra.missing)}; {extra.pip} brings {extra.brings}"
    return f"{extra.name}: installed; {extra.brings}"


def _result(found: Diagnosis) -> str:
    stopping = sum(problem.stops for problem in found.problems)
    return f"{stopping} to be put right before work goes on" if stopping else "all is well"
