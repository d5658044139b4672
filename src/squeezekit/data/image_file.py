"""One image to pixels: one rule for orientation, transparency, depth, crop and size, in training and inference."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Union

from PIL import BmpImagePlugin, ExifTags, Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from ..system.errors import RunFailed, SqueezekitError
from ..system.outside_files import open_at_once
from .decoding_effort import check_effort, webp_size
from .image_in_memory import checked_image, image_of_array, is_array
from .pixel_budget import PixelBudget
from .quiet_pillow import quiet_pillow

if TYPE_CHECKING:
    # Imported where an array is given or asked for: a device has no NumPy.
    import numpy as np
    from numpy.typing import NDArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
# Part of the key of the decoded store: raise it whenever the rule below changes a pixel.
RULE_VERSION = 1
# A decoder may need twenty bytes for each of them.
MOST_PIXELS = 100_000_000
PIXELS_AT_ONCE = 64_000_000
# As large as an uncompressed picture of so many pixels may be.
MOST_BYTES = 2**30
UNKNOWN = "not a JPEG, PNG, BMP or WebP file"

# Only these decoders see the file, whatever its suffix says: Pillow's others include PostScript. Its `Image.open` would bound
# pixels with words and numbers of its own.
DECODERS: dict[bytes, Callable[[BinaryIO], ImageFile.ImageFile]] = {
    b"\xff\xd8\xff": JpegImagePlugin.jpeg_factory,
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
}
# What can be wrong with a file or its path; every other error of the system may pass.
ERRORS_OF_THE_FILE = frozenset(
    getattr(errno, name, None)
    for name in ("ENOENT", "ENOTDIR", "EACCES", "EPERM", "EISDIR", "ELOOP", "ENAMETOOLONG", "EINVAL", "EFBIG", "ENXIO", "ENODEV")
)
# Pixels that are converted at a time, so that a large picture is not in memory once more for each conversion.
PIXELS_OF_STRIP = 2**20
# Room that one pixel takes in the decoder that needs the most, and pixels for which there is always room.
BYTES_TO_DECODE_PIXEL, FEW_PIXELS = 24, 2**16

ImageInput = Union[str, Path, BinaryIO, Image.Image, "NDArray[np.generic]"]

_AT_ONCE = PixelBudget(PIXELS_AT_ONCE)


class UnreadableImageError(SqueezekitError):
    """A file that is not a whole image in a known format; `reason` says why without naming it."""

    def __init__(self, name: str, reason: str, advice: str = "replace or remove it") -> None:
        super().__init__(f"{name} cannot be read as a picture ({reason}): {advice}")
        self.reason = reason


class TooManyPixelsError(UnreadableImageError):
    """An image larger than the caller allows; none of it has been decoded."""

    def __init__(self, name: str, width: int, height: int, max_pixels: int) -> None:
        reason = f"{width} × {height} pixels, more than {max_pixels:,}"
        super().__init__(name, reason, "make it smaller, or raise the limit, --max-pixels")


class ReadingFailedError(RunFailed):
    """A picture that could not be read this time, through no fault of the file: memory or the disk failed."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} could not be read this time ({reason}): run the same command again")
        self.reason = reason


def read_image(source: ImageInput, image_size: int, channels: int, *, max_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Read one image as uint8 [image_size, image_size, channels]; for all else see `read_pixels`."""
    import numpy as np

    pixels = read_pixels(source, image_size, channels, max_pixels=max_pixels)
    return np.frombuffer(pixels, np.uint8).reshape(image_size, image_size, channels).copy()


def read_pixels(source: ImageInput, image_size: int, channels: int, *, max_pixels: int = MOST_PIXELS) -> bytes:
    """Read one image as the bytes of its pixels, row by row; `channels` is 1 (grey) or 3 (RGB).

    The camera's orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, the largest
    centred square is cut out and resized with an antialiased bilinear filter. An image that already has the size is
    left as it is. Of an animation the first frame is taken.

    source: a path, an open binary file, a PIL image, or an array (`image_of_array`); of a file at most `max_pixels` are decoded.
    Raises SqueezekitError for a source that is none of these; UnreadableImageError, naming the file, when it is no whole picture
    or has too many pixels (TooManyPixelsError); ReadingFailedError when memory or the disk failed.
    """
    check_shape(image_size, channels)
    with quiet_pillow:
        if isinstance(source, Image.Image) or is_array(source):
            return _of_image(source, image_size, channels)
        if not (isinstance(source, str | Path) or hasattr(source, "read")):
            raise SqueezekitError(f"a {type(source).__name__} is no picture: give a path, an open file, a PIL image, or an array")
        return _of_file(source, image_size, channels, max_pixels)


def check_shape(image_size: int, channels: int) -> None:
    """Refuse sizes and channel counts that no image can have, with a sentence."""
    if image_size < 1:
        raise SqueezekitError(f"an image size of {image_size} is not possible: give a number of pixels, such as 32")
    if channels not in (1, 3):
        raise SqueezekitError(f"{channels} channels are not possible: give 1 for grey or 3 for colour")


def file_content(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file; raises OSError, also for a pipe or device, and for a file larger than any picture."""
    # Twice as fast as Path.read_bytes for small files, of which there are many.
    with open(open_at_once(path), "rb", buffering=0) as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        if status.st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, f"it is larger than {MOST_BYTES:,} bytes", path)
        return file.readall()


def picture_size(content: bytes, max_pixels: int = MOST_PIXELS) -> tuple[int, int]:
    """Width and height of a picture file as they are stored, in pixels, of which none is decoded. Raises as `read_image`."""
    with quiet_pillow:
        return _with_size(content, "the picture", max_pixels).size


def decoded_pixels(content: bytes, image_size: int, max_pixels: int = MOST_PIXELS) -> int:
    """How many pixels `read_image` decodes of this file: what it costs in time and memory. Raises as `read_image`."""
    with quiet_pillow:
        return _opened(content, "the picture", image_size, max_pixels)[1]


def _of_image(source: Image.Image | NDArray[np.generic], image_size: int, channels: int) -> bytes:
    image = checked_image(source) if isinstance(source, Image.Image) else image_of_array(source)
    try:
        return _pixels(image, image_size, channels)
    except Exception as error:
        raise _failure("the picture", error, image.width * image.height) from error


def _of_file(source: str | Path | BinaryIO, image_size: int, channels: int, max_pixels: int) -> bytes:
    name = os.fspath(source) if isinstance(source, str | Path) else str(getattr(source, "name", None) or "the picture")
    try:
        content = file_content(name) if isinstance(source, str | Path) else _read_all(source)
    except Exception as error:
        raise _failure(name, error) from error
    image, cost = _opened(content, name, image_size, max_pixels)
    try:
        with image, _AT_ONCE.taken(cost) if cost > FEW_PIXELS else nullcontext():
            return _pixels(image, image_size, channels)
    # Broken files make decoders raise nearly anything: OSError, ValueError, SyntaxError, struct.error, EOFError …
    except Exception as error:
        raise _failure(name, error, cost) from error


def _read_all(file: BinaryIO) -> bytes:
    with suppress(AttributeError, io.UnsupportedOperation):
        file.seek(0)
    return file.read(MOST_BYTES)


def _opened(content: bytes, name: str, image_size: int, max_pixels: int) -> tuple[ImageFile.ImageFile, int]:
    """The image with its header read and nothing decoded, and the number of pixels that its decoder keeps."""
    image = _with_size(content, name, max_pixels)
    # A progressive JPEG is kept whole, even when only an eighth of it is asked for.
    whole = image.width * image.height if image.info.get("progressive") else 0
    # A JPEG may be decoded at 1/2, 1/4 or 1/8; twice the target still leaves the filter something to average.
    image.draft(None, (2 * image_size, 2 * image_size))
    return image, whole or image.width * image.height


def _with_size(content: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    width, height = webp_size(content) or (0, 0)
    _check_pixels(name, width, height, max_pixels)
    try:
        check_effort(content)
        image = _with_header(content)
    except Exception as error:
        raise _failure(name, error, width * height) from error
    _check_pixels(name, *image.size, max_pixels)
    return image


def _with_header(content: bytes) -> ImageFile.ImageFile:
    for start, decoder in DECODERS.items():
        if content.startswith(start):
            with suppress(SyntaxError):
                return decoder(io.BytesIO(content))
    raise ValueError(UNKNOWN)


def _check_pixels(name: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixelsError(name, width, height, max_pixels)


def _failure(name: str, error: Exception, pixels: int = 0) -> SqueezekitError:
    """What to raise for whatever a decoder raised; `pixels` are those of the image where they are known."""
    if isinstance(error, FileNotFoundError):
        return UnreadableImageError(name, _reason(error), "check its name")
    return (ReadingFailedError if _is_passing(error, pixels) else UnreadableImageError)(name, _reason(error))


def _is_passing(error: Exception, pixels: int) -> bool:
    """Whether the machine and not the file is to blame."""
    if isinstance(error, OSError) and error.errno:
        return error.errno not in ERRORS_OF_THE_FILE
    # Decoders that are refused memory call the file broken.
    return isinstance(error, MemoryError) or "out of memory" in str(error) or not _has_room(pixels)


def _has_room(pixels: int) -> bool:
    try:
        # Zeros that the system gives only where they are looked at.
        return pixels <= FEW_PIXELS or len(bytes(BYTES_TO_DECODE_PIXEL * pixels)) > 0
    except (MemoryError, OverflowError):
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "too little memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.DecompressionBombError):
        return "it has more pixels than its decoder takes"
    return " ".join(str(error).split()) or type(error).__name__


def _pixels(image: Image.Image, image_size: int, channels: int) -> bytes:
    mode = "L" if channels == 1 else "RGB"
    image = _upright(image)
    if image.size == (image_size, image_size):
        image = _plain(image, mode)
    else:
        image = _square(image, mode).resize((image_size, image_size), Image.Resampling.BILINEAR)
    return image.tobytes()


def _upright(image: Image.Image) -> Image.Image:
    # Without this question every upright image would be copied, which costs a small one a fifth of its time.
    upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return image if upright else ImageOps.exif_transpose(image)


def _square(image: Image.Image, mode: str) -> Image.Image:
    """The largest centred square in `mode`."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cut before resizing: with its `box`, resize would blend in what lies outside.
    rows = max(PIXELS_OF_STRIP // side, 1)
    if rows >= side:
        return _plain(image.crop((left, top, left + side, top + side)), mode)
    square = Image.new(mode, (side, side))
    for row in range(0, side, rows):
        strip = image.crop((left, top + row, left + side, top + min(row + rows, side)))
        square.paste(_plain(strip, mode), (0, row))
    return square


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Without transparency, of 8 bits, in `mode`."""
    image = _eight_bits(_flat(image))
    return image if image.mode == mode else image.convert(mode)


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)


def _eight_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image
    # What is below 0 or above 65,535 is looked up as these.
    return image.convert("I").point(_eight_of_sixteen_bits(), "L")


@cache
def _eight_of_sixteen_bits() -> list[int]:
    return [(value + 128) // 257 for value in range(1 << 16)]
