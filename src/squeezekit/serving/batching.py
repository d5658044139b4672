"""Requests that arrive together are decoded and classified together.

One thread does both: handing a small image to another thread costs as much as decoding it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from squeezekit.inference.classifier import Classifier, Prediction
from squeezekit.networks.config import NetworkConfig
from squeezekit.system.errors import RunFailed

Outcome = list[Prediction] | Exception
# Files, or uint8 [n, side, side, channels].
RequestImages = list[bytes] | NDArray[np.uint8]
Decode = Callable[[list[bytes], NetworkConfig], NDArray[np.uint8]]


class QueueFullError(Exception):
    """More images wait than the queue holds."""


@dataclass(frozen=True)
class _Request:
    classifier: Classifier
    images: RequestImages
    answer: asyncio.Future[list[Prediction]]


class Batcher:
    """Dynamic batching: classifies all waiting images as one batch while the next one gathers; nobody waits for it to fill.

    At most `max_waiting` images wait; a batch is at most `max_batch` images, or those of one request if they are more. `decode`
    turns a request's files into pixels, uint8 [n, side, side, channels]; what it raises is that request's answer. `on_batch` is
    called with each batch's size. A thread of its own classifies one batch after another, so that none waits for the event loop.
    """

    def __init__(self, max_waiting: int, max_batch: int, decode: Decode, on_batch: Callable[[int], None]) -> None:
        self._max_waiting, self._max_batch, self._decode, self._on_batch = max_waiting, max_batch, decode, on_batch
        self._queue: deque[_Request] = deque()
        self._changed = Condition()
        self._ending = False

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        with self._changed:
            return self._images()

    def _images(self) -> int:
        return sum(len(one.images) for one in self._queue)

    async def classify(self, classifier: Classifier, images: RequestImages) -> list[Prediction]:
        """One prediction an image; raises QueueFullError, and what `decode` raises."""
        one = _Request(classifier, images, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._images() + len(images) > self._max_waiting:
                raise QueueFullError
            self._queue.append(one)
            self._changed.notify()
        return await one.answer

    @contextmanager
    def running(self) -> Iterator[None]:
        """Classify within the `with` block; entered from an event loop."""
        thread = Thread(target=self._run, args=(asyncio.get_running_loop(),), name="classify", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._ending = True
                self._changed.notify()
            thread.join()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while batch := self._next():
            try:
                answers = self._classified(batch)
            except Exception as error:
                answers = [error for _ in batch]
            loop.call_soon_threadsafe(_deliver, batch, answers)

    def _next(self) -> list[_Request]:
        """From the head of the queue: as many requests as fit, all for one classifier; none when the batcher ends."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._ending)
                # Clients that have disconnected need no answer.
                self._queue = deque(one for one in self._queue if not one.answer.done())
                if self._queue or self._ending:
                    return self._batch()

    def _batch(self) -> list[_Request]:
        batch, count = list[_Request](), 0
        while self._queue and (not batch or self._queue[0].classifier is batch[0].classifier):
            count += len(self._queue[0].images)
            if batch and count > self._max_batch:
                break
            batch.append(self._queue.popleft())
        return batch

    def _classified(self, batch: list[_Request]) -> list[Outcome]:
        """For each request its predictions, or the exception that answers it."""
        decoded = [self._decoded(one) for one in batch]
        readable = [pixels for pixels in decoded if isinstance(pixels, np.ndarray)]
        try:
            found = batch[0].classifier.classify_pixels(np.concatenate(readable)) if readable else []
            if len(found) != sum(map(len, readable)):
                raise RunFailed("the model has not one answer for each picture")
        except Exception as error:
            return [one if isinstance(one, Exception) else error for one in decoded]
        self._on_batch(len(found))
        predictions = iter(found)
        return [[next(predictions) for _ in pixels] if isinstance(pixels, np.ndarray) else pixels for pixels in decoded]

    def _decoded(self, one: _Request) -> NDArray[np.uint8] | Exception:
        if isinstance(one.images, np.ndarray):
            return one.images
        try:
            return self._decode(one.images, one.classifier.config)
        except Exception as error:
            return error


def _deliver(batch: list[_Request], answers: list[Outcome]) -> None:
    for one, answer in zip(batch, answers, strict=True):
        if one.answer.done():
            continue
        if isinstance(answer, Exception):
            one.answer.set_exception(answer)
        else:
            one.answer.set_result(answer)
