"""One image to pixels: one rule for orientation, transparency, depth, crop and size, in training and inference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from squeezekit.system.errors import SqueezekitError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp")
# Only these decoders see the file, whatever its suffix says: Pillow's others include PostScript.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
# Part of the key of the decoded store: raise it whenever the rule below changes a pixel.
RULE_VERSION = 1

ImageInput = str | Path | BinaryIO | Image.Image | NDArray[np.generic]


class UnreadableImageError(SqueezekitError):
    """A file that is not a whole image in a known format; `reason` says why without naming it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be read as a picture ({reason}): replace or remove it")
        self.reason = reason


class TooManyPixelsError(SqueezekitError):
    """An image larger than the caller allows; none of it has been decoded."""


def read_image(source: ImageInput, image_size: int, channels: int, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Read one image as uint8 [image_size, image_size, channels]; `channels` is 1 (grey) or 3 (RGB).

    The camera's orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, the largest
    centred square is cut out and resized with an antialiased bilinear filter. An image that already has the size is
    left as it is. Of an animation the first frame is taken.

    source: a path, an open binary file, a PIL image, or an array [h, w] or [h, w, 1 | 3 | 4] of uint8 (or uint16 for
    grey). Raises SqueezekitError, naming the file, when it cannot be read or is a decompression bomb; TooManyPixelsError when
    it has more than `max_pixels`.
    """
    check_shape(image_size, channels)
    with _open(source, image_size, max_pixels) as image:
        return _pixels(image, image_size, channels)


def check_shape(image_size: int, channels: int) -> None:
    """Refuse sizes and channel counts that no image can have, with a sentence."""
    if image_size < 1:
        raise SqueezekitError(f"an image size of {image_size} is not possible: give a number of pixels, such as 32")
    if channels not in (1, 3):
        raise SqueezekitError(f"{channels} channels are not possible: give 1 for grey or 3 for colour")


@contextmanager
def _open(source: ImageInput, image_size: int, max_pixels: int | None) -> Iterator[Image.Image]:
    name = "the picture"
    try:
        if isinstance(source, Image.Image):
            yield source
        elif isinstance(source, np.ndarray):
            yield Image.fromarray(source[:, :, 0] if source.ndim == 3 and source.shape[2] == 1 else source)
        else:
            name = str(source if isinstance(source, str | Path) else getattr(source, "name", name))
            with Image.open(source, formats=FORMATS) as image:
                if max_pixels is not None and image.width * image.height > max_pixels:
                    raise TooManyPixelsError(f"{name} has {image.width} × {image.height} pixels, more than {max_pixels:,}")
                # A JPEG may be decoded at 1/2, 1/4 or 1/8; twice the target still leaves the filter something to average.
                image.draft(None, (2 * image_size, 2 * image_size))
                yield image
    except SqueezekitError:
        raise
    # Broken files make decoders raise nearly anything: OSError, ValueError, SyntaxError, struct.error, EOFError …
    except Exception as error:
        raise UnreadableImageError(name, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        return "not a JPEG, PNG, BMP or WebP file"
    return " ".join(str(error).split()) or type(error).__name__


def _pixels(image: Image.Image, image_size: int, channels: int) -> NDArray[np.uint8]:
    image = _flat(_upright(image))
    image = _in_mode(_eight_bits(image), "L" if channels == 1 else "RGB")
    if image.size != (image_size, image_size):
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        # Cut before resizing: with its `box`, resize would blend in what lies outside.
        image = image.crop((left, top, left + side, top + side))
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8).reshape(image_size, image_size, channels)


def _upright(image: Image.Image) -> Image.Image:
    # Without this question every upright image would be copied, which costs a small one a fifth of its time.
    upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return image if upright else ImageOps.exif_transpose(image)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
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
    deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
    return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
