"""Uploaded pictures to pixels, within limits of pixels and time."""

import asyncio
import io
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image

from squeezekit.serving import uploads
from squeezekit.serving.uploads import LargeImageError, RequestLimits, UploadDecoder

CONFIG = SimpleNamespace(image_size=16, channels=3)


@pytest.fixture
def decoder():
    one = UploadDecoder(RequestLimits(max_pixels=4_000_000), 2)
    yield one
    one.close()


def saved(size, kind="PNG", **options):
    file = io.BytesIO()
    Image.new("RGB", size, (9, 99, 199)).save(file, kind, **options)
    return file.getvalue()


def refusal(decoder, *files):
    with pytest.raises(HTTPException) as caught:
        asyncio.run(decoder.in_threads(list(files), CONFIG))
    return caught.value


@pytest.mark.slow
def test_large_pictures_are_decoded_by_children_that_are_kept(decoder):
    for _ in range(2):
        pixels = asyncio.run(decoder.in_threads([saved((1500, 1200)), saved((20, 20), "JPEG", quality=100)], CONFIG))
        assert np.abs(pixels.astype(int) - (9, 99, 199)).max() <= 2
    assert 1 <= len(decoder._children) <= 2
    assert asyncio.run(decoder.in_threads([saved((20, 20))], SimpleNamespace(image_size=8, channels=1))).shape == (1, 8, 8, 1)


def test_each_refusal_has_its_status(decoder):
    wide = refusal(decoder, saved((4, 4)), saved((2001, 2000)))
    assert (wide.status_code, wide.detail) == (
        413,
        "picture 2 has 2001 × 2000 pixels, more than 4,000,000; send a smaller one",
    )
    assert refusal(decoder, b"GIF89a").status_code == 415
    cut = refusal(decoder, saved((1500, 1200))[:-300])
    assert cut.status_code == 422 and cut.detail.startswith("the picture cannot be read (")
    scans = saved((32, 32), "JPEG", progressive=True)
    again = scans[scans.rindex(b"\xff\xda") : -2]
    busy = refusal(decoder, scans[:-2] + again * 2000 + scans[-2:])
    assert (busy.status_code, "more than 100 scans" in busy.detail) == (422, True)
    with pytest.raises(LargeImageError):
        decoder.inline([saved((300, 300))], CONFIG)


@pytest.mark.slow
def test_one_that_takes_too_long_is_ended_and_the_next_is_decoded(decoder, monkeypatch):
    monkeypatch.setattr(uploads, "DECODING_SECONDS", 0.001)
    late = refusal(decoder, saved((1500, 1200)))
    assert (late.status_code, late.headers) == (503, {"Retry-After": "1"})
    assert late.detail == "the picture was not decoded within 0.001 s; send a smaller one, or come again"
    assert not decoder._children
    monkeypatch.setattr(uploads, "DECODING_SECONDS", 60)
    assert asyncio.run(decoder.in_threads([saved((1500, 1200))], CONFIG)).shape == (1, 16, 16, 3)


def held(decoder, monkeypatch, event):
    """The files that are being decoded until `event`; the one named other is decoded at once."""
    seen = []

    def decoded(file, _config):
        if file != b"other":
            seen.append(file)
            event.wait(10)
        return np.zeros((16, 16, 3), np.uint8)

    monkeypatch.setattr(decoder, "_decoded", decoded)
    return seen


def test_the_pictures_of_one_request_leave_a_thread_to_others(decoder, monkeypatch):
    event = threading.Event()
    seen = held(decoder, monkeypatch, event)

    async def both():
        many = asyncio.create_task(decoder.in_threads([b"many"] * 4, CONFIG))
        await asyncio.sleep(0)
        other = await asyncio.wait_for(decoder.in_threads([b"other"], CONFIG), 5)
        begun = len(seen)
        event.set()
        return other.shape, begun, (await many).shape

    assert asyncio.run(both()) == ((1, 16, 16, 3), 1, (4, 16, 16, 3))


def test_a_request_whose_pictures_take_too_long_is_given_up(decoder, monkeypatch):
    event = threading.Event()
    seen = held(decoder, monkeypatch, event)
    monkeypatch.setattr(uploads, "REQUEST_SECONDS", 0.02)

    async def late():
        try:
            await decoder.in_threads([b"many"] * 4, CONFIG)
        finally:
            event.set()

    with pytest.raises(HTTPException, match="not decoded within 0.02 s; send fewer at once") as caught:
        asyncio.run(late())
    assert (caught.value.status_code, len(seen)) == (503, 1)


def test_nothing_is_decoded_after_the_first_picture_that_is_refused(decoder, monkeypatch):
    seen = []

    def refuse(file, _config):
        seen.append(file)
        raise uploads.UnreadableImageError("the picture", "odd")

    monkeypatch.setattr(decoder, "_decoded", refuse)
    assert refusal(decoder, b"1", b"2", b"3").detail.startswith("picture 1 cannot be read (odd)")
    assert seen == [b"1"]


def test_pixels_in_progress_are_bounded(decoder, monkeypatch):
    monkeypatch.setattr(uploads, "DECODING_SECONDS", 0.01)
    with decoder._in_progress.taken(3_000_000):
        assert refusal(decoder, saved((1500, 1200))).status_code == 503


def test_a_failure_of_the_moment_is_no_fault_of_the_picture(decoder, monkeypatch):
    def fail(*_, **__):
        raise uploads.ReadingFailedError("the picture", "too little memory")

    monkeypatch.setattr(uploads, "read_image", fail)
    with pytest.raises(HTTPException) as caught:
        decoder.inline([saved((4, 4))], CONFIG)
    assert (caught.value.status_code, "too little memory" in caught.value.detail) == (503, True)


def test_what_is_decoded_when_the_service_ends_is_ended(decoder):
    async def ended():
        working = asyncio.create_task(decoder.in_threads([saved((1900, 1900), "BMP")] * 6, CONFIG))
        while not decoder._children:
            await asyncio.sleep(0.001)
        begin = time.monotonic()
        decoder.close()
        await asyncio.gather(working, return_exceptions=True)
        return time.monotonic() - begin

    assert asyncio.run(ended()) < 5
