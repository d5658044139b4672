"""Arrays and PIL images as pictures: only what can mean one thing is taken, since the wrong guess would be a black picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from ..system.errors import SqueezekitError

if TYPE_CHECKING:
    # Imported where there is an array: a device has no NumPy.
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import TypeIs

TAKEN = "give uint8 [h, w] or [h, w, 3], or floating-point numbers 0…1"
CHANNELS = (1, 3, 4)


def is_array(source: object) -> TypeIs[NDArray[np.generic]]:
    """Whether something is an array of NumPy, also where there is no NumPy."""
    return any(each.__module__ == "numpy" and each.__name__ == "ndarray" for each in type(source).__mro__)


def image_of_array(array: NDArray[Any]) -> Image.Image:
    """`checked_array` as an image."""
    return Image.fromarray(checked_array(array))


def checked_array(array: NDArray[Any]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """An array [h, w] or [h, w, 1 | 3 | 4] as one of uint8 [h, w] or [h, w, 3 | 4], or of uint16 [h, w].

    uint8 is 0…255, floating-point numbers are 0…1, uint16 is grey of 0…65535. Raises SqueezekitError for every other array: for
    values out of range or NaN, and for uint16 that would be black since it holds nothing above 255.
    """
    import numpy as np

    given = f"an array of {array.dtype} {list(array.shape)}"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not array.size or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)):
        raise SqueezekitError(f"{given} is no picture: {TAKEN}")
    if array.dtype.kind == "f":
        array = _eight_bits(array, given)
    if array.dtype.newbyteorder("=") == np.uint16 and array.ndim == 2:
        _check_depth(int(array.max()), given)
        return np.ascontiguousarray(array, np.uint16)
    if array.dtype != np.uint8:
        raise SqueezekitError(f"{given} is no picture: {TAKEN}")
    return np.ascontiguousarray(array)


def checked_image(image: Image.Image) -> Image.Image:
    """A PIL image whose values mean one thing: mode F as an array of floating-point numbers, mode I as uint16.

    Raises SqueezekitError for one without pixels and for values that are out of range.
    """
    given = f"a PIL image of mode {image.mode} {image.width} × {image.height}"
    if not image.width or not image.height:
        raise SqueezekitError(f"{given} has no pixels")
    if image.mode == "F":
        import numpy as np

        return Image.fromarray(_eight_bits(np.asarray(image), given))
    if image.mode == "I":
        lowest, highest = (int(extreme) for extreme in image.getextrema())  # type: ignore[arg-type]
        if lowest < 0 or highest > 65535:
            raise SqueezekitError(f"{given} holds {lowest} to {highest}: give mode L, RGB or I;16")
        _check_depth(highest, given)
    return image


def _eight_bits(array: NDArray[Any], given: str) -> NDArray[np.uint8]:
    import numpy as np

    lowest, highest = array.min(), array.max()
    if not (lowest >= 0 and highest <= 1):
        raise SqueezekitError(f"{given} holds {lowest:g} to {highest:g}: give 0…1 before normalization, or uint8 0…255")
    eight: NDArray[np.uint8] = np.rint(array * array.dtype.type(255)).astype(np.uint8)
    return eight


def _check_depth(highest: int, given: str) -> None:
    if 0 < highest <= 255:
        raise SqueezekitError(f"{given} holds nothing above {highest} of 65535, which is black: give uint8 for 0…255")
