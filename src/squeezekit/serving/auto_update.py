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

DEFAULT_INTERVAL = 3600.0


@dataclass(frozen=True)
class AutoUpdate:
    """A service's model, kept up to date by `squeezekit update` into `folder` every `every` seconds.

    `repo` is the address or folder of an update repository, `trust` the root.json that came with the device. The update runs
    in a process of its own, so that neither a hostile repository nor decoding a model ever keeps a request waiting. Raises
    SqueezekitError for an interval of less than a second.
    """

    repo: str
    folder: Path
    trust: Path | None = None
    channel: str = "stable"
    every: float = DEFAULT_INTERVAL

    def __post_init__(self) -> None:
        if not self.every >= 1:
            raise SqueezekitError(f"--every {self.every:g}: give at least 1 second")

    @property
    def model(self) -> Path:
        """The file to serve, which an update replaces."""
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
        """Look for a new version every `every` seconds, until cancelled; a failure is reported and changes nothing."""
        while True:
            try:
                await self._update()
            except (OSError, ValueError, KeyError) as error:
                say(f"no update: {error}")
            await asyncio.sleep(self.every)

    async def _update(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command(), env=_environment(), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        try:
            out, errors = await process.communicate()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        if process.returncode:
            say(f"no update: {_reason(errors.decode(errors='replace'))}")
        elif (found := json.loads(out))["changed"]:
            say(f"version {found['version']} of {found['channel']} installed, {found['fetched']:,} bytes fetched")

    def _command(self) -> list[str]:
        command = [sys.executable, "-P", "-m", "squeezekit", "update", "--repo", self.repo, "-o", str(self.folder)]
        command += ["--channel", self.channel, "--json"]
        return command if self.trust is None else [*command, "--trust", str(self.trust)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}


def _reason(errors: str) -> str:
    lines = errors.strip().splitlines() or ["the update process ended without a message"]
    return lines[-1].removeprefix("squeezekit: ")
