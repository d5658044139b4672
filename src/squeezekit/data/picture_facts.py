"""What is known of a picture without looking at what it shows: size, brightness, border, sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.block_decoding import File, same_content
from squeezekit.data.decoding import in_blocks
from squeezekit.data.image_file import MOST_PIXELS, UnreadableImageError, picture_size, read_image
from squeezekit.data.quiet_pillow import quiet_pillow

SIDE, BORDER = 128, 6
# Lightest and darkest pixel of a blank picture differ by so much, of 255, but for one in a thousand.
MOST_NOISE = 8
# Sharp photos have 0.23 and more; blurred by 1 % of the side about 0.1.
LEAST_SHARPNESS = 0.1


class PictureFacts(NamedTuple):
    """Of one picture: pixels, bytes; brightness 0…255 and its deviation, of all of it and of its border.

    sharpness: the deviation of the Laplacian by that of the brightness, at 128 pixels.
    """

    width: float
    height: float
    bytes: float
    brightness: float
    contrast: float
    border_brightness: float
    border_contrast: float
    sharpness: float
    blank: bool

    @property
    def blurred(self) -> bool:
        """Whether it has no sharp edge, and is no small picture, which has none at this size."""
        return not self.blank and min(self.width, self.height) >= SIDE and self.sharpness < LEAST_SHARPNESS


def facts_of_files(files: Sequence[File], max_pixels: int = MOST_PIXELS) -> list[PictureFacts | str]:
    """The facts of each file, given as (path, SHA-256), or the reason (text) why it cannot be read."""

    def facts(block: Sequence[File]) -> list[PictureFacts | str]:
        with quiet_pillow:
            return [_facts(same_content(path, content_hash), max_pixels) for path, content_hash in block]

    return list(in_blocks("looking at pictures", facts, files))


def _facts(content: bytes, max_pixels: int) -> PictureFacts | str:
    try:
        width, height = picture_size(content, max_pixels)
        pixels = read_image(BytesIO(content), SIDE, 3, max_pixels=max_pixels)
    except UnreadableImageError as error:
        return error.reason
    grey = pixels.astype(np.float32).mean(2)
    edge = np.ones(grey.shape, np.bool_)
    edge[BORDER:-BORDER, BORDER:-BORDER] = False
    border, contrast = grey[edge], float(grey.std())
    low, high = np.quantile(pixels, (0.0005, 0.9995), axis=(0, 1))
    sharpness = float(_laplacian(grey).std()) / max(contrast, 1.0)
    return PictureFacts(
        width=width,
        height=height,
        bytes=len(content),
        brightness=float(grey.mean()),
        contrast=contrast,
        border_brightness=float(border.mean()),
        border_contrast=float(border.std()),
        sharpness=sharpness,
        blank=bool((high - low).max() <= MOST_NOISE),
    )


def _laplacian(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    middle = grey[1:-1, 1:-1]
    found: NDArray[np.float32] = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return found
