"""`--data`: a name or a path becomes images."""

from __future__ import annotations

from pathlib import Path

from squeezekit.errors import SqueezekitError
from squeezekit.images.digits import load_digits
from squeezekit.images.folder import load_folder
from squeezekit.images.image_set import ImageSource


def load_images(
    data: str | Path, *, image_size: int | None = None, channels: int | None = None, strict: bool = False
) -> ImageSource:
    """The images of `data`: `digits`, or an image folder.

    `image_size` (pixels, default 32) and `channels` (1 grey, 3 colour; default the source's own) say what the
    images become. `strict` makes a picture that cannot be read an error. Raises SqueezekitError.
    """
    size = image_size or 32
    if str(data) == "digits":
        return load_digits(image_size=size, channels=channels or 1)
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise SqueezekitError(f"{data}: neither digits nor a folder; give --data a folder with one folder a class")
    return load_folder(folder, image_size=size, channels=channels or 3, strict=strict)
