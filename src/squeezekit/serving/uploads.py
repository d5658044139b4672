"""Uploaded images, as a body or as parts of a form: read within limits, decoded; each breach has its HTTP status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from queue import Empty, SimpleQueue

import numpy as np
from fastapi import HTTPException, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from squeezekit.data.decoder_process import DecoderEndedError, DecoderProcess
from squeezekit.data.image_file import (
    FORMATS,
    UNKNOWN,
    ReadingFailedError,
    TooManyPixelsError,
    UnreadableImageError,
    decoded_pixels,
    read_image,
)
from squeezekit.data.pixel_budget import PixelBudget
from squeezekit.data.quiet_pillow import quiet_pillow
from squeezekit.networks.config import NetworkConfig
from squeezekit.system.errors import SqueezekitError

# Requests of so few bytes, with images of so few pixels, are decoded in the classifying thread: that takes some milliseconds at
# most, and handing each to another thread would cost as much.
SMALL_BYTES, SMALL_PIXELS = 2**16, 2**16
# Fifty million pixels take two or three.
DECODING_SECONDS = 10.0
# For all pictures of a request, with the time that they wait for those of others.
REQUEST_SECONDS = 30.0


class RequestLimits(BaseModel):
    """Limits on requests; whatever exceeds them is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body: int = Field(16 * 2**20, ge=1, description="bytes of a request's body")
    max_images: int = Field(64, ge=1, description="images of a request")
    max_pixels: int = Field(50_000_000, ge=1, description="pixels of an image")
    seconds: float = Field(10.0, gt=0, le=86400, description="seconds that a request's head, and its body, may take")
    max_connections: int = Field(512, ge=1, description="connections at once; more are answered with 503")
    max_waiting: int = Field(512, ge=1, description="images that wait to be classified; more are answered with 503")
    max_batch: int = Field(64, ge=1, description="images that are classified at once")


async def uploaded_files(request: Request, limits: RequestLimits) -> list[bytes]:
    """The image files in a request, undecoded; raises HTTPException."""
    body = await _body(request, limits)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await _parts(request, body, limits)
    if not body:
        raise HTTPException(400, "the body is empty; send a picture, or several as the parts of a form")
    return [body]


async def _body(request: Request, limits: RequestLimits) -> bytes:
    too_large = HTTPException(413, f"the body has more than {limits.max_body:,} bytes; send a smaller picture, or fewer")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or not length.isascii():
        raise HTTPException(400, "Content-Length is not a number; send the body's bytes")
    # Of more digits than Python converts, too.
    if len(length) > 18 or int(length) > limits.max_body:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > limits.max_body:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, f"the body took more than {limits.seconds:g} s to arrive; send it faster") from None
    except ClientDisconnect:
        raise HTTPException(400, "the connection ended before the body did") from None
    return b"".join(parts)


async def _parts(request: Request, body: bytes, limits: RequestLimits) -> list[bytes]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, stream(), max_files=limits.max_images, max_fields=limits.max_images)
    # Keeps every part in memory.
    parser.spool_max_size = limits.max_body + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        too_many = error.message.startswith("Too many files")
        problem = f"more than {limits.max_images} images; send them in several requests" if too_many else error.message
        raise HTTPException(413 if too_many else 400, problem) from None
    except (ValueError, KeyError, UnicodeError) as error:
        raise HTTPException(400, f"the form cannot be read ({type(error).__name__}); check its boundary") from None
    files = [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise HTTPException(400, "no pictures in the form; send each as a part with a file name")
    return files


class LargeImageError(Exception):
    """A small file that decodes to many pixels."""


class UploadDecoder:
    """Files to pixels, uint8 [n, image_size, image_size, channels]; raises HTTPException that names the image by its number.

    Large pictures are decoded by child processes, each started when it is needed first: one that takes too long is ended. All
    together have no more pixels in progress than one picture may have.
    """

    def __init__(self, limits: RequestLimits, threads: int) -> None:
        self._max_pixels, self._small_pixels = limits.max_pixels, min(limits.max_pixels, SMALL_PIXELS)
        threads = max(threads, 2)
        self._threads, self._at_once = ThreadPoolExecutor(threads, "decode"), threads - 1
        self._in_progress, self._closed = PixelBudget(limits.max_pixels), False
        self._children, self._idle = set[DecoderProcess](), SimpleQueue[DecoderProcess]()

    def inline(self, files: list[bytes], config: NetworkConfig) -> NDArray[np.uint8]:
        """Decode small files in this thread; raises LargeImageError for one of many pixels."""
        decoded = []
        with quiet_pillow:
            for number, file in enumerate(files, start=1):
                try:
                    decoded.append(read_image(BytesIO(file), config.image_size, config.channels, max_pixels=self._small_pixels))
                except TooManyPixelsError:
                    raise LargeImageError from None
                except Exception as error:
                    raise _refusal(error, number, len(files)) from None
        return np.stack(decoded)

    async def in_threads(self, files: list[bytes], config: NetworkConfig) -> NDArray[np.uint8]:
        """Decode any files beside the classifying thread, so that only the sender of large ones waits for them.

        One thread is left to others' pictures, whatever one request holds. It ends with the first picture that is refused.
        """
        loop = asyncio.get_running_loop()
        decoded, numbers = dict[int, NDArray[np.uint8]](), iter(range(len(files)))

        async def decode_some() -> None:
            for number in numbers:
                try:
                    decoded[number] = await loop.run_in_executor(self._threads, self._decoded, files[number], config)
                except Exception as error:
                    raise _refusal(error, number + 1, len(files)) from None

        workers = [asyncio.create_task(decode_some()) for _ in range(min(self._at_once, len(files)))]
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await asyncio.gather(*workers)
        except TimeoutError:
            problem = f"the pictures were not decoded within {REQUEST_SECONDS:g} s; send fewer at once, or come again"
            raise HTTPException(503, problem, {"Retry-After": "1"}) from None
        finally:
            for worker in workers:
                worker.cancel()
        return np.stack([decoded[number] for number in range(len(files))])

    def close(self) -> None:
        """Cancel what has not begun, and end what has."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children):
            child.__exit__()

    def _decoded(self, file: bytes, config: NetworkConfig) -> NDArray[np.uint8]:
        pixels = decoded_pixels(file, config.image_size, self._max_pixels)
        with self._in_progress.taken(pixels, DECODING_SECONDS):
            child = self._child((config.image_size, config.image_size, config.channels))
            try:
                decoded = child.decode_content(file, DECODING_SECONDS)
            except DecoderEndedError:
                self._children.discard(child)
                child.__exit__()
                raise
            except SqueezekitError:
                self._idle.put(child)
                raise
            self._idle.put(child)
            return decoded

    def _child(self, shape: tuple[int, int, int]) -> DecoderProcess:
        """One that decodes nothing now; as many are started as there are threads."""
        with suppress(Empty):
            # Another model may want another size.
            while (child := self._idle.get_nowait()).shape != shape:
                self._children.discard(child)
                child.__exit__()
            return child
        if self._closed:
            raise DecoderEndedError("the service ends")
        child = DecoderProcess(shape[0], shape[2], self._max_pixels)
        self._children.add(child)
        return child


def _refusal(error: BaseException, number: int, count: int) -> HTTPException:
    name = f"picture {number}" if count > 1 else "the picture"
    if isinstance(error, TooManyPixelsError):
        return HTTPException(413, f"{name} has {error.reason}; send a smaller one")
    if isinstance(error, UnreadableImageError):
        status = 415 if error.reason == UNKNOWN else 422
        return HTTPException(status, f"{name} cannot be read ({error.reason}); send one of {', '.join(FORMATS)}")
    if isinstance(error, TimeoutError | DecoderEndedError):
        problem = f"was not decoded within {DECODING_SECONDS:g} s"
    elif isinstance(error, ReadingFailedError):
        problem = f"could not be decoded this time ({error.reason})"
    else:
        raise error
    return HTTPException(503, f"{name} {problem}; send a smaller one, or come again", {"Retry-After": "1"})
