"""Requests that arrive together are classified together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezekit.inference.classifier import Classifier, Prediction


class QueueFullError(Exception):
    """More images wait than the queue holds."""


@dataclass(frozen=True)
class _Waiting:
    classifier: Classifier
    pixels: NDArray[np.uint8]
    answer: asyncio.Future[list[Prediction]]


class Batcher:
    """Classifies what waits, as one batch, while the next batch gathers: nobody waits for a batch to fill.

    At most `most_waiting` images wait, and `most_at_once` are one batch, or those of one request if they are more. `on_batch` is
    told of each batch's size.
    """

    def __init__(self, most_waiting: int, most_at_once: int, on_batch: Callable[[int], None]) -> None:
        self._most_waiting, self._most_at_once, self._on_batch = most_waiting, most_at_once, on_batch
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "classify")

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        return sum(len(one.pixels) for one in self._queue)

    async def classify(self, classifier: Classifier, pixels: NDArray[np.uint8]) -> list[Prediction]:
        """The answers for uint8 [n, side, side, channels]; raises QueueFullError."""
        if self.waiting + len(pixels) > self._most_waiting:
            raise QueueFullError
        one = _Waiting(classifier, pixels, asyncio.get_running_loop().create_future())
        self._queue.append(one)
        self._arrived.set()
        return await one.answer

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                await self._classify(self._taken())

    def _taken(self) -> list[_Waiting]:
        """From the head of the queue: as many as fit, all for one classifier."""
        taken = [self._queue.popleft()]
        count = len(taken[0].pixels)
        while self._queue and self._queue[0].classifier is taken[0].classifier:
            count += len(self._queue[0].pixels)
            if count > self._most_at_once:
                break
            taken.append(self._queue.popleft())
        return taken

    async def _classify(self, taken: list[_Waiting]) -> None:
        # Whoever has gone away needs no answer.
        taken = [one for one in taken if not one.answer.done()]
        if not taken:
            return
        pixels = np.concatenate([one.pixels for one in taken])
        self._on_batch(len(pixels))
        try:
            work = asyncio.get_running_loop().run_in_executor(self._thread, taken[0].classifier.classify_pixels, pixels)
            answers = await work
        except Exception as error:
            for one in taken:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        begin = 0
        for one in taken:
            end = begin + len(one.pixels)
            if not one.answer.done():
                one.answer.set_result(answers[begin:end])
            begin = end
