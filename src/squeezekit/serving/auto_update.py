"""A service that fetches new versions of its model by itself."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from squeezekit.serving.child_process import environment, module_command, run_module
from squeezekit.system.console import say
from squeezekit.system.errors import RunFailed, SqueezekitError

DEFAULT_INTERVAL = 3600.0
# Between looks for a new version, and for one update.
LONGEST_INTERVAL = 30 * 86400.0
MOST_SECONDS = 3600.0


@dataclass(frozen=True)
class AutoUpdate:
    """A service's model, kept up to date by `squeezekit update` into `folder` every `every` seconds.

    `repo` is the address or folder of an update repository, `trust` the root.json that came with the device. The update runs
    in a process of its own, so that neither a hostile repository nor decoding a model ever keeps a request waiting. Raises
    SqueezekitError for an interval of less than a second or more than 30 days.
    """

    repo: str
    folder: Path
    trust: Path | None = None
    channel: str = "stable"
    every: float = DEFAULT_INTERVAL

    def __post_init__(self) -> None:
        if not 1 <= self.every <= LONGEST_INTERVAL:
            raise SqueezekitError(f"--every {self.every:g}: give at least 1 second and at most {LONGEST_INTERVAL:.0f}")

    @property
    def model(self) -> Path:
        """The file to serve, which an update replaces."""
        return self.folder / "model.sqz"

    def first(self) -> None:
        """Fetch a model where there is none yet; raises RunFailed."""
        if self.model.exists():
            return
        quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        done = subprocess.run(module_command(*self._update_arguments()), env=environment(), check=False, **quiet)  # type: ignore[call-overload]
        if done.returncode:
            raise RunFailed(_reason(done.stderr))

    async def watch(self) -> None:
        """Look for a new version every `every` seconds, until cancelled; a failure is reported and changes nothing."""
        while True:
            try:
                await self._update()
            except TimeoutError:
                say(f"no update: it did not end within {MOST_SECONDS:g} s")
            except Exception as error:
                say(f"no update: {error}")
            await asyncio.sleep(self.every)

    async def _update(self) -> None:
        code, out, errors = await run_module(*self._update_arguments(), seconds=MOST_SECONDS)
        if code:
            say(f"no update: {_reason(errors)}")
        elif (found := json.loads(out))["changed"]:
            say(f"version {found['version']} of {found['channel']} installed, {found['fetched']:,} bytes fetched")

    def _update_arguments(self) -> list[str]:
        arguments = ["squeezekit", "update", "--repo", self.repo, "-o", str(self.folder), "--channel", self.channel, "--json"]
        return arguments if self.trust is None else [*arguments, "--trust", str(self.trust)]


def _reason(errors: str) -> str:
    lines = errors.strip().splitlines() or ["the update process ended without a message"]
    return lines[-1].removeprefix("squeezekit: ")
