"""What data may be: the name of a bundled or downloadable set, an archive, a folder, or pictures in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from squeezekit.data.cifar10 import load_cifar10
from squeezekit.data.cifar10_archive import find_batches
from squeezekit.data.curation import Curation
from squeezekit.data.digits import load_digits
from squeezekit.data.image_file import MOST_PIXELS
from squeezekit.data.image_folder import load_folder
from squeezekit.data.image_set import ImageSource
from squeezekit.data.in_memory import PREFIX, InMemory, hold, load_in_memory
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.shown_text import shown

Data = str | Path | InMemory
CHOICES = "'digits', 'cifar10', the path of a CIFAR-10 archive, or a folder with one folder of pictures for each class"


BUNDLED = ("digits", "cifar10")
# What `loaded_once` has seen; None outside of it.
_LOADED: ContextVar[dict[tuple[object, ...], ImageSource] | None] = ContextVar("_LOADED", default=None)


def data_name(data: Data, classes: Sequence[str] | None = None) -> str:
    """What a configuration calls these images: a name or a path as it is; pictures in memory are held from now on (`hold`).

    `classes` are the names of classes that pictures in memory do not name. Raises SqueezekitError for pictures that cannot be.
    """
    return str(data) if isinstance(data, str | Path) else hold(data, classes)


def in_memory(data: Data) -> bool:
    """Whether these images, or those of this name, are in the memory of a process."""
    return data.startswith(PREFIX) if isinstance(data, str) else not isinstance(data, Path)


def settled(data: str) -> str:
    """`data` so that it means the same from any folder: a path made absolute, any other name as it is."""
    return data if data in BUNDLED or not data or in_memory(data) else str(expanded(data).absolute())


def load_images(
    data: str | Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    strict: bool = False,
    max_pixels: int = MOST_PIXELS,
    curation: Curation | None = None,
) -> ImageSource:
    """The pictures of `data`, decoded, with the test part set aside.

    data: "digits" (scikit-learn's, 1 channel), "cifar10" (downloaded once), the path of a CIFAR-10 archive (Python or
    binary version) or of its unpacked folder, an image folder (see `load_folder`), or the `data_name` of pictures in memory.
    A path may begin with ~.
    image_size: height and width in pixels, 32 by default. channels: 1 grey, 3 colour, by default the source's own.
    strict: whether a picture that cannot be read is an error instead of being named and skipped. max_pixels: of a picture file;
    a larger one cannot be read. curation: what somebody has decided about the pictures of a folder.

    Raises SqueezekitError when `data` is none of these or what it holds cannot be used.
    """
    loaded, asked = _LOADED.get(), (data, image_size, channels, strict, max_pixels, curation or Curation())
    if loaded is None:
        return _load(*asked)
    if asked not in loaded:
        loaded[asked] = _load(*asked)
    return loaded[asked]


@contextmanager
def loaded_once() -> Iterator[None]:
    """While it lasts, `load_images` looks at no source twice: listing a large folder takes its time."""
    loaded = _LOADED.get()
    before = _LOADED.set({} if loaded is None else loaded)
    try:
        yield
    finally:
        _LOADED.reset(before)


def _load(
    data: str | Path, image_size: int | None, channels: int | None, strict: bool, max_pixels: int, curation: Curation
) -> ImageSource:
    size = 32 if image_size is None else image_size
    if curation and (data in BUNDLED or in_memory(data)):
        raise SqueezekitError(f"{data}: --labels, --group-by and --leave-out are for folders of pictures; leave them out")
    if data == "digits":
        return load_digits(image_size=size, channels=1 if channels is None else channels)
    if isinstance(data, str) and in_memory(data):
        return load_in_memory(data, image_size=size, channels=channels)
    channels = 3 if channels is None else channels
    if data == "cifar10":
        return load_cifar10(image_size=size, channels=channels)
    path = expanded(data)
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise SqueezekitError(f"{shown(str(path))}: the path is not UTF-8; rename the folder") from None
    if data == "" or not path.exists():
        raise SqueezekitError(f"'{data}' is neither a data set nor an existing path: give {CHOICES}")
    batches = path if not path.is_dir() else None if curation else find_batches(path)
    if batches is not None and curation:
        raise SqueezekitError(f"{data}: --labels, --group-by and --leave-out are for folders of pictures; leave them out")
    if batches is not None:
        return load_cifar10(batches, image_size=size, channels=channels)
    return load_folder(path, image_size=size, channels=channels, strict=strict, max_pixels=max_pixels, curation=curation)
