"""Arrays and PIL images: read right, or refused; never black."""

import numpy as np
import pytest
from PIL import Image

from squeezekit.data.image_file import read_image
from squeezekit.system.errors import SqueezekitError

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], -1)


@pytest.mark.parametrize(
    "array",
    [
        *(GREY, GREY[:, :, None], np.asfortranarray(GREY)[::-1][::-1], GREY.astype(np.uint16) * 257, GREY.astype(">u2") * 257),
        *((GREY / 255).astype(kind) for kind in ("f2", "f4", "f8", ">f4", "g")),
        (GREY / 255)[:, :, None],
    ],
)
def test_grey(array):
    assert (read_image(array, 8, 1)[:, :, 0] == GREY).all()


@pytest.mark.parametrize("array", [COLOUR, COLOUR / 255, np.dstack([COLOUR, np.full_like(GREY, 255)])])
def test_colour(array):
    assert (read_image(array, 8, 3) == COLOUR).all()


@pytest.mark.parametrize(
    "array",
    [
        *(GREY.astype(kind) for kind in ("i2", "i4", "i8", "u4", "u8", "O", "c8", "U")),
        *(
            GREY > 100,
            COLOUR.astype(np.uint16),
            GREY[None],
            np.stack([GREY] * 3),
            np.stack([GREY] * 2, -1),
            GREY[0],
            COLOUR[None],
        ),
        *(np.zeros((0, 0), np.uint8), np.zeros((0, 5), np.uint8), np.zeros((5, 0, 3), np.uint8), np.array(3, np.uint8)),
    ],
)
def test_every_other_array_is_named_with_what_is_taken(array):
    with pytest.raises(SqueezekitError, match=r"^an array of .* is no picture: give uint8 \[h, w\] or \[h, w, 3\], or floating"):
        read_image(array, 8, 1)


@pytest.mark.parametrize("array", [GREY.astype("f4"), GREY / 255 - 0.5, np.full((8, 8), np.nan), np.full((8, 8), np.inf)])
def test_numbers_out_of_range_are_named(array):
    with pytest.raises(SqueezekitError, match=r"an array of float\d\d \[8, 8\] holds .* to .*: give 0…1 before normalization"):
        read_image(array, 8, 1)
    with pytest.raises(SqueezekitError, match=r"a PIL image of mode F 8 × 8 holds"):
        read_image(Image.fromarray(array.astype("f4")), 8, 1)


def test_sixteen_bits_that_would_be_black_are_named():
    with pytest.raises(SqueezekitError, match=r"an array of uint16 \[8, 8\] holds nothing above 252 of 65535, which is black"):
        read_image(GREY.astype(np.uint16), 8, 1)
    with pytest.raises(SqueezekitError, match="a PIL image of mode I 8 × 8 holds nothing above 252"):
        read_image(Image.fromarray(GREY.astype(np.int32)), 8, 1)
    assert (read_image(np.zeros((8, 8), np.uint16), 8, 1) == 0).all()


def test_pil_images_of_numbers():
    assert (read_image(Image.fromarray((GREY / 255).astype("f4")), 8, 1)[:, :, 0] == GREY).all()
    assert (read_image(Image.fromarray(GREY.astype(np.int32) * 257), 8, 1)[:, :, 0] == GREY).all()
    with pytest.raises(SqueezekitError, match="holds -1 to -1: give mode L, RGB or I;16"):
        read_image(Image.fromarray(np.full((4, 4), -1, np.int32)), 8, 1)


def test_an_image_without_pixels():
    with pytest.raises(SqueezekitError, match="a PIL image of mode L 0 × 5 has no pixels"):
        read_image(Image.new("L", (0, 5)), 8, 1)
