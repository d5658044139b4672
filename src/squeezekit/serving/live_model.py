"""The model that a service answers with, reloaded when its file changes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from squeezekit.inference.classifier import Classifier
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.measurement import images_at_once

POLL_SECONDS = 1.0
WARM_BATCH = 64
# The files of a run folder that its answers depend on.
RUN_FILES = ("config.toml", "best.safetensors", "summary.json")


class LiveModel:
    """A MODEL that is loaded again when its file changes or on request; a file that cannot be loaded changes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = self._stamps()
        self.classifier = _loaded_and_warm(path)
        self.since = time.time()
        self._reload_requested = asyncio.Event()

    def request_reload(self) -> None:
        """Load the model again soon."""
        self._reload_requested.set()

    async def watch(self) -> None:
        """Poll for changes and requests, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reload_requested.wait(), POLL_SECONDS)
            stamp = self._stamps()
            if self._reload_requested.is_set() or stamp != self._stamp:
                self._reload_requested.clear()
                self._stamp = stamp
                await self._reload()

    async def _reload(self) -> None:
        try:
            self.classifier = await asyncio.to_thread(_loaded_and_warm, self.path)
        except (SqueezekitError, OSError) as error:
            say(f"the model stays as it was: {error}")
            return
        self.since = time.time()
        say(f"{self.path}: loaded again")

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        files = [self.path / name for name in RUN_FILES] if self.path.is_dir() else [self.path]
        return tuple(_stamp(file) for file in files)


def _loaded_and_warm(path: Path) -> Classifier:
    """The classifier, after one small and one large batch, so that whatever is compiled is compiled."""
    classifier = Classifier.load(path)
    side, channels = classifier.config.image_size, classifier.config.channels
    for count in (1, min(WARM_BATCH, images_at_once(side))):
        classifier.classify_pixels(np.zeros((count, side, side, channels), np.uint8))
    return classifier


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        known = file.stat()
    except OSError:
        return None
    return known.st_mtime_ns, known.st_size, known.st_ino
