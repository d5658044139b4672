"""Modules of this package, run in a process of their own that cannot outlive its time or the service."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from pathlib import Path


def module_command(*arguments: str) -> list[str]:
    """The command line of `python -m ARGUMENTS`."""
    return [sys.executable, "-P", "-m", *arguments]


def environment(**more: str) -> dict[str, str]:
    """That of this process, in which its modules are found."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path), **more}


async def run_module(*arguments: str, seconds: float, **variables: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of `python -m ARGUMENTS`; raises TimeoutError after `seconds`."""
    process = await asyncio.create_subprocess_exec(
        *module_command(*arguments), env=environment(**variables), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(seconds):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace"), errors.decode(errors="replace")
