"""One thread answers requests in batches: each gets its own answer, whatever the others sent."""

import asyncio
import threading

import numpy as np
import pytest

from squeezekit.serving.batching import Batcher, QueueFullError


class Slow:
    """A classifier that answers with the first pixel of each picture, and waits until it may."""

    config = None

    def __init__(self):
        self.may, self.begun, self.sizes = threading.Event(), threading.Event(), []

    def classify_pixels(self, pixels):
        self.begun.set()
        assert self.may.wait(20)
        self.sizes.append(len(pixels))
        if (pixels == 13).any():
            raise ValueError("13")
        return [int(one[0, 0, 0]) for one in pixels]


def decode(files, config):
    if b"bad" in files:
        raise KeyError("bad")
    return np.stack([picture(file[0]) for file in files])


def picture(value):
    return np.full((2, 2, 1), value, np.uint8)


def run(story):
    """A story in an event loop, with a batcher of at most five waiting images, four at once, and a classifier."""

    async def broadcast():
        classifier, batcher = Slow(), Batcher(5, 4, decode, lambda size: None)
        with batcher.running():
            first = asyncio.create_task(batcher.classify(classifier, [bytes([1])]))
            await asyncio.to_thread(classifier.begun.wait, 20)
            # From here on requests wait until the classifier may.
            await asyncio.wait_for(story(batcher, classifier), 30)
            assert await first == [1]
        await asyncio.sleep(0.05)

    asyncio.run(broadcast())


def test_each_request_gets_its_own_answer():
    async def story(batcher, classifier):
        tasks = [asyncio.create_task(batcher.classify(classifier, what)) for what in ([b"\2", b"\3"], [b"bad"], [b"\4"])]
        await asyncio.sleep(0.05)
        assert batcher.waiting == 4
        classifier.may.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found[0] == [2, 3] and isinstance(found[1], KeyError) and found[2] == [4]
        assert classifier.sizes == [1, 3] and batcher.waiting == 0

    run(story)


def test_a_full_queue_refuses_and_batches_are_bounded():
    async def story(batcher, classifier):
        tasks = [asyncio.create_task(batcher.classify(classifier, np.stack([picture(i)]))) for i in range(5)]
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFullError):
            await batcher.classify(classifier, [b"x"])
        classifier.may.set()
        assert await asyncio.gather(*tasks) == [[i] for i in range(5)]
        assert classifier.sizes == [1, 4, 1]

    run(story)


def test_a_failure_is_the_answer_of_its_batch_and_the_thread_goes_on():
    async def story(batcher, classifier):
        tasks = [asyncio.create_task(batcher.classify(classifier, what)) for what in ([b"\x0d"], [b"bad"])]
        gone = asyncio.create_task(batcher.classify(classifier, [b"\7"]))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        classifier.may.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [ValueError, KeyError]
        assert await batcher.classify(classifier, [b"\5"]) == [5]
        # Whoever had gone away was not computed.
        assert classifier.sizes == [1, 1, 1]

    run(story)


def test_what_waits_at_the_end_is_answered():
    async def story(batcher, classifier):
        waiting = asyncio.create_task(batcher.classify(classifier, [b"\6"]))
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.1, classifier.may.set)
        story.waiting = waiting

    run(story)
    assert story.waiting.result() == [6]


def test_a_model_with_too_few_answers_leaves_nobody_waiting():
    async def story(batcher, classifier):
        classifier.classify_pixels = lambda pixels: [1]
        tasks = [asyncio.create_task(batcher.classify(classifier, [b"\2", b"\3"])) for _ in range(2)]
        classifier.may.set()
        for found in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20):
            assert "has not one answer for each picture" in str(found)

    run(story)
