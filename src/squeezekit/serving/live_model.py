"""The model that a service answers with, and how another one takes its place."""

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

LOOK_SECONDS = 1.0
WARM_BATCH = 64
# What a run folder's answers depend on.
OF_A_RUN = ("config.toml", "best.safetensors", "summary.json")


class LiveModel:
    """A MODEL that is loaded again when its file changes, or when asked to; one that cannot be loaded changes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = self._stamped()
        self.classifier = _ready(path)
        self.since = time.time()
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Load it again soon."""
        self._asked.set()

    async def watch(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_SECONDS)
            stamp = self._stamped()
            if self._asked.is_set() or stamp != self._stamp:
                self._asked.clear()
                self._stamp = stamp
                await self._renew()

    async def _renew(self) -> None:
        try:
            self.classifier = await asyncio.to_thread(_ready, self.path)
        except (SqueezekitError, OSError) as error:
            say(f"the model stays as it was: {error}")
            return
        self.since = time.time()
        say(f"{self.path}: loaded again")

    def _stamped(self) -> tuple[tuple[int, int, int] | None, ...]:
        files = [self.path / name for name in OF_A_RUN] if self.path.is_dir() else [self.path]
        return tuple(_stamp(file) for file in files)


def _ready(path: Path) -> Classifier:
    """Loaded, and whatever has to be compiled for small and large batches compiled."""
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
