"""A service that fetches new versions of its model by itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from squeezekit.system.console import say
from squeezekit.system.errors import RunFailed, SqueezekitError

EVERY = 3600.0


@dataclass(frozen=True)
class Updates:
    """Where a service's model comes from: `squeezekit update` into `folder`, every so many seconds.

    In a process of its own, so that neither a hostile repository nor decoding a model ever keeps a request waiting.
    """

    source: str
    folder: Path
    trust: Path | None = None
    channel: str = "stable"
    every: float = EVERY

    def __post_init__(self) -> None:
        if not self.every >= 1:
            raise SqueezekitError(f"--every {self.every:g}: give at least 1 second")

    @property
    def model(self) -> Path:
        """The file to serve, which each update replaces."""
        return self.folder / "model.sqz"

    def first(self) -> None:
        """Fetch a model where there is none yet; raises RunFailed."""
        if self.model.exists():
            return
        quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        done = subprocess.run(self._command(), env=_environment(), check=False, **quiet)  # type: ignore[call-overload]
        if done.returncode:
            raise RunFailed(_reason(done.stderr))

    async def watch(self) -> None:
        """Look for a new version now and then, until cancelled; failures are told, and change nothing."""
        while True:
            try:
                await self._look()
            except (OSError, ValueError, KeyError) as error:
                say(f"no update: {error}")
            await asyncio.sleep(self.every)

    async def _look(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command(), env=_environment(), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        try:
            out, told = await process.communicate()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        if process.returncode:
            say(f"no update: {_reason(told.decode(errors='replace'))}")
        elif (found := json.loads(out))["changed"]:
            say(f"version {found['version']} of {found['channel']} installed, {found['fetched']:,} bytes fetched")

    def _command(self) -> list[str]:
        command = [sys.executable, "-P", "-m", "squeezekit", "update", "--from", self.source, "--to", str(self.folder)]
        command += ["--channel", self.channel, "--json"]
        return command if self.trust is None else [*command, "--trust", str(self.trust)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}


def _reason(told: str) -> str:
    lines = told.strip().splitlines() or ["the process that updates ended without a word"]
    return lines[-1].removeprefix("squeezekit: ")
