"""Pictures that a program has in memory, arrays or a map-style data set: held in this process under a name."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from squeezekit.data.class_names import mirrored_pair
from squeezekit.data.image_file import check_shape, read_image
from squeezekit.data.image_in_memory import CHANNELS, checked_array, checked_image
from squeezekit.data.image_set import ImageSet, ImageSource, content_fingerprint
from squeezekit.data.splits import chosen_for_test
from squeezekit.system.console import progress_bar
from squeezekit.system.errors import SqueezekitError

PREFIX = "memory:"
FINGERPRINT_DIGITS = 16
COLOURLESS = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "F")

Arrays = tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, Sequence[str]]
Picture = Image.Image | NDArray[np.uint8] | NDArray[np.uint16]
Read = Callable[[int], tuple[Picture, int]]


class MapStyle(Protocol):
    """A `torch.utils.data.Dataset` of (picture, label) that can be counted, or anything alike, such as a list of pairs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


InMemory = Arrays | MapStyle


@dataclass(frozen=True, eq=False)
class _Held:
    """What was given: `read` gives a picture and its label by index; the rest is what was found when all were read once."""

    read: Read
    labels: NDArray[np.int64]
    hashes: list[bytes]
    classes: tuple[str, ...]
    channels: int


# Kept until the process ends, since a run names its images and asks for them again. No pixel is copied.
_HELD: dict[str, _Held] = {}


def hold(data: InMemory, classes: Sequence[str] | None = None) -> str:
    """The name under which `load_in_memory` finds these pictures again in this process: `memory:` and their fingerprint.

    data: (images, labels) or (images, labels, class names), images uint8 [n, h, w], [n, h, w, c] or [n, c, h, w], labels
    integers [n] from 0; or a map-style data set that gives (picture, label), the picture a PIL image, an array [h, w, c] or
    [h, w], or a tensor [c, h, w] or [h, w]. Floating-point pictures must be 0…1. Class names are those given, the data set's
    `classes`, or else `classes`; without any they are "0", "1" ….

    Every picture is read once for the fingerprint. The data are kept as they are, until the process ends; they must not
    change. Raises SqueezekitError for pictures or labels that are none of these.
    """
    count, read, names = _of_arrays(data) if isinstance(data, tuple) else _of_map_style(data)
    labels, hashes, brightest, coloured = np.empty(count, np.int64), list[bytes](), 0, False
    with progress_bar("reading pictures", count) as advance:
        for index in range(count):
            found, labels[index] = read(index)
            hashes.append(_digest(found))
            coloured |= found.mode not in COLOURLESS if isinstance(found, Image.Image) else found.ndim == 3
            brightest = max(brightest, 255 if isinstance(found, Image.Image) else int(found.max(initial=0)))
            advance(1)
    if count and brightest <= 1:
        raise SqueezekitError("the pictures are uint8 and hold nothing above 1, which is black; give 0…255")
    named = _class_names(labels, names or classes)
    name = PREFIX + content_fingerprint(named, labels, hashes)[:FINGERPRINT_DIGITS]
    _HELD[name] = _Held(read, labels, hashes, named, 3 if coloured else 1)
    return name


def load_in_memory(name: str, *, image_size: int = 32, channels: int | None = None) -> ImageSource:
    """The pictures that `hold` named, resized by the rule of `read_image`; 15 % of each class go to test by content.

    They count as mirrorable, unless two classes are called each other's mirror image. `channels` are 1 where all are grey,
    else 3, unless given. Raises SqueezekitError when they are not held by this process, or are no longer what they were.
    """
    held = _HELD.get(name)
    if held is None:
        raise SqueezekitError(f"{name}: these pictures were in the memory of another process; give the same ones again as data")
    channels = held.channels if channels is None else channels
    check_shape(image_size, channels)
    images = np.empty((len(held.labels), image_size, image_size, channels), np.uint8)
    with progress_bar("resizing pictures", len(images)) as advance:
        for index, known in enumerate(held.hashes):
            picture, _label = held.read(index)
            if _digest(picture) != known:
                raise SqueezekitError(
                    f"{name}: picture {index} is another one than at first; leave out random transforms, and change no array"
                )
            images[index] = read_image(picture, image_size, channels)
            advance(1)
    for_test = chosen_for_test(held.labels.tolist(), held.hashes)

    def part(rows: NDArray[np.int64]) -> ImageSet:
        fingerprint = content_fingerprint(held.classes, held.labels[rows], [held.hashes[row] for row in rows])
        return ImageSet(
            images[rows], held.labels[rows], held.classes, fingerprint, mirrorable=mirrored_pair(held.classes) is None
        )

    return ImageSource(name, part(np.flatnonzero(~for_test)), part(np.flatnonzero(for_test)))


def _of_arrays(data: tuple[Any, ...]) -> tuple[int, Read, Sequence[str] | None]:
    if len(data) not in (2, 3):
        raise SqueezekitError(f"data is a tuple of {len(data)}; give (images, labels) or (images, labels, class names)")
    images, labels, names = data[0], np.asarray(data[1]), data[2] if len(data) == 3 else None
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise SqueezekitError(f"labels are {labels.dtype} {list(labels.shape)}; give one integer a picture, from 0")
    if len(images) != len(labels):
        raise SqueezekitError(f"there are {len(images)} images and {len(labels)} labels; give one label for each image")
    return len(labels), lambda index: (_picture(images[index]), int(labels[index])), names


def _of_map_style(data: MapStyle) -> tuple[int, Read, Sequence[str] | None]:
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise SqueezekitError(
            f"data is a {type(data).__name__}; give a path, (images, labels), or a map-style data set of (picture, label)"
        )

    def read(index: int) -> tuple[Picture, int]:
        item = data[index]
        try:
            picture, label = item
            number = operator.index(label)
        except (TypeError, ValueError):
            raise SqueezekitError(
                f"item {index} of the data set is not a picture with the number of its class; give both"
            ) from None
        return _picture(picture), number

    # Of a torch.utils.data.Subset, the whole set has the names.
    whole: Any = data
    while not getattr(whole, "classes", None) and hasattr(whole, "dataset"):
        whole = whole.dataset
    return len(data), read, getattr(whole, "classes", None)


def _picture(given: Any) -> Picture:
    if isinstance(given, Image.Image):
        return checked_image(given)
    is_tensor = hasattr(given, "detach")
    array = given.detach().cpu().numpy() if is_tensor else np.asarray(given)
    if array.ndim == 3:
        # Where both ends could be channels, tensors have them first and arrays last.
        places = [place for place in ((0, 2) if is_tensor else (2, 0)) if array.shape[place] in CHANNELS]
        array = np.moveaxis(array, places[0], 2) if places else array
    return checked_array(array)


def _digest(picture: Picture) -> bytes:
    if isinstance(picture, Image.Image):
        # Indices into a palette do not say which colours they are.
        picture = np.asarray(picture.convert("RGBA") if picture.mode in ("P", "PA") else picture)
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()


def _class_names(labels: NDArray[np.int64], names: Sequence[str] | None) -> tuple[str, ...]:
    count = int(labels.max(initial=-1)) + 1
    named = tuple(str(index) for index in range(count)) if names is None else tuple(map(str, names))
    if labels.min(initial=0) < 0 or count > len(named):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise SqueezekitError(f"a label is {wrong}, and there are {len(named)} classes; give integers from 0, one for each class")
    if len(named) < 2 or len(set(named)) < len(named):
        raise SqueezekitError(f"the classes are {', '.join(named) or 'none'}; give two or more, each with a name of its own")
    return named
