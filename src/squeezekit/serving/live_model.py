"""The model that a service answers with, reloaded when its file changes."""

from __future__ import annotations

import asyncio
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from squeezekit.serving.model_check import fit_classifier, problem_in_process
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes

POLL_SECONDS = 1.0
# After a failure that was not the file's fault.
RETRY_SECONDS = 60.0
# The files of a run folder that its answers depend on.
RUN_FILES = ("config.toml", "data.json", "split.npz", "best.safetensors", "summary.json")
MOST_BYTES = 2**30


class LiveModel:
    """A MODEL that is loaded again when its file changes or on request; one that is not fit changes nothing.

    It is copied first, so that the file that is checked, in a process of its own, is the one that takes over. Raises
    SqueezekitError for one that cannot be served.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: object = self._stamps()
        # Whoever starts a service waits for it, and can stop it: no other process is needed.
        with _Copy(path) as copy:
            copy.fill()
            self.classifier = fit_classifier(copy.model)
        self._copy = copy
        self.since = time.time()
        self._reload_requested = asyncio.Event()

    def request_reload(self) -> None:
        """Load the model again soon."""
        self._reload_requested.set()

    async def watch(self) -> None:
        """Poll for changes and requests, until cancelled; survives whatever it finds."""
        pause = POLL_SECONDS
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reload_requested.wait(), pause)
            pause, stamp = POLL_SECONDS, self._stamps()
            if not self._reload_requested.is_set() and stamp == self._stamp:
                continue
            self._reload_requested.clear()
            self._stamp = stamp
            try:
                await self._reload()
            except Exception as error:
                say(f"the model stays as it was: {error}")
                if not isinstance(error, SqueezekitError):
                    self._stamp, pause = None, RETRY_SECONDS

    async def _reload(self) -> None:
        with _Copy(self.path) as copy:
            await asyncio.to_thread(copy.fill)
            if problem := await problem_in_process(copy.model):
                raise SqueezekitError(problem)
            self.classifier = await asyncio.to_thread(fit_classifier, copy.model)
        self._copy.remove()
        self._copy, self.since = copy, time.time()
        say(f"{self.path}: loaded again")

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        # Those of both kinds of MODEL: whether a path is a folder may fail to be found out.
        return tuple(_stamp(file) for file in (self.path, *(self.path / name for name in RUN_FILES)))


class _Copy:
    """A private copy of a MODEL, of a run folder what its answers depend on; removed where the `with` block fails.

    Errors from the block are told of the MODEL. Raises SqueezekitError for what is not a file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._folder = path, tempfile.TemporaryDirectory(prefix="squeezekit-", ignore_cleanup_errors=True)
        self.model = Path(self._folder.name) / (path.name or "model")

    def fill(self) -> None:
        if not self._path.is_dir():
            self.model.write_bytes(read_outside_bytes(self._path, MOST_BYTES))
            return
        self.model.mkdir()
        for name in RUN_FILES:
            if (self._path / name).exists():
                (self.model / name).write_bytes(read_outside_bytes(self._path / name, MOST_BYTES))

    def remove(self) -> None:
        self._folder.cleanup()

    def __enter__(self) -> _Copy:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        self.remove()
        if isinstance(error, SqueezekitError):
            raise SqueezekitError(str(error).replace(str(self.model), str(self._path))) from None


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        known = file.stat()
    except OSError:
        return None
    if stat.S_ISDIR(known.st_mode):
        # It changes with every file in it.
        return None
    return known.st_mtime_ns, known.st_size, known.st_ino
