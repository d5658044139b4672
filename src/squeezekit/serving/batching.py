"""Requests that arrive together are decoded and classified together.

One thread does both: handing a small picture to another costs as much as decoding it.
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

Answer = list[Prediction] | Exception
# Files, or uint8 [n, side, side, channels].
Pictures = list[bytes] | NDArray[np.uint8]
Decode = Callable[[list[bytes], NetworkConfig], NDArray[np.uint8]]


class QueueFullError(Exception):
    """More images wait than the queue holds."""


@dataclass(frozen=True)
class _Waiting:
    classifier: Classifier
    pictures: Pictures
    answer: asyncio.Future[list[Prediction]]


class Batcher:
    """Classifies what waits, as one batch, while the next batch gathers: nobody waits for a batch to fill.

    At most `most_waiting` images wait, and `most_at_once` are one batch, or those of one request if they are more. `decode` turns
    a request's files into pixels; what it raises is that request's answer. `on_batch` is told of each batch's size. A thread of
    its own takes one batch after another, so that none waits for the event loop.
    """

    def __init__(self, most_waiting: int, most_at_once: int, decode: Decode, on_batch: Callable[[int], None]) -> None:
        self._most_waiting, self._most_at_once, self._decode, self._on_batch = most_waiting, most_at_once, decode, on_batch
        self._queue: deque[_Waiting] = deque()
        self._changed = Condition()
        self._ending = False

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        with self._changed:
            return self._images()

    def _images(self) -> int:
        return sum(len(one.pictures) for one in self._queue)

    async def classify(self, classifier: Classifier, pictures: Pictures) -> list[Prediction]:
        """The answers, one for each picture; raises QueueFullError, and what `decode` raises."""
        one = _Waiting(classifier, pictures, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._images() + len(pictures) > self._most_waiting:
                raise QueueFullError
            self._queue.append(one)
            self._changed.notify()
        return await one.answer

    @contextmanager
    def running(self) -> Iterator[None]:
        """Classify as long as this lasts; from within an event loop."""
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
        while taken := self._next():
            try:
                answers = self._answered(taken)
            except Exception as error:
                answers = [error for _ in taken]
            loop.call_soon_threadsafe(_tell, taken, answers)

    def _next(self) -> list[_Waiting]:
        """From the head of the queue: as many as fit, all for one classifier; nothing at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._queue or self._ending)
                # Whoever has gone away needs no answer.
                self._queue = deque(one for one in self._queue if not one.answer.done())
                if self._queue or self._ending:
                    return self._taken()

    def _taken(self) -> list[_Waiting]:
        taken, count = list[_Waiting](), 0
        while self._queue and (not taken or self._queue[0].classifier is taken[0].classifier):
            count += len(self._queue[0].pictures)
            if taken and count > self._most_at_once:
                break
            taken.append(self._queue.popleft())
        return taken

    def _answered(self, taken: list[_Waiting]) -> list[Answer]:
        """To each request: its predictions, or why there are none."""
        decoded = [self._decoded(one) for one in taken]
        there = [pixels for pixels in decoded if isinstance(pixels, np.ndarray)]
        try:
            found = iter(taken[0].classifier.classify_pixels(np.concatenate(there)) if there else [])
        except Exception as error:
            return [one if isinstance(one, Exception) else error for one in decoded]
        self._on_batch(sum(map(len, there)))
        return [[next(found) for _ in pixels] if isinstance(pixels, np.ndarray) else pixels for pixels in decoded]

    def _decoded(self, one: _Waiting) -> NDArray[np.uint8] | Exception:
        if isinstance(one.pictures, np.ndarray):
            return one.pictures
        try:
            return self._decode(one.pictures, one.classifier.config)
        except Exception as error:
            return error


def _tell(taken: list[_Waiting], answers: list[Answer]) -> None:
    for one, answer in zip(taken, answers, strict=True):
        if one.answer.done():
            continue
        if isinstance(answer, Exception):
            one.answer.set_exception(answer)
        else:
            one.answer.set_result(answer)
