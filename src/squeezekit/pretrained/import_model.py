"""Networks that others have stored become `.sqz` files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from squeezekit.modelfile.deep_compression_file import read_deep_compression
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.pretrained.published import PUBLISHED, keep, published_name
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.presentation import Presented


@dataclass(frozen=True)
class ImportedModel(Presented):
    """What was written: the `.sqz` file and its `bytes`; `name` is that of a pretrained model that it is now, if it is one."""

    file: str
    bytes: int
    name: str | None
    network: str
    classes: int
    image_size: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def import_model(file: str | PathLike[str], out: str | PathLike[str] | None = None) -> ImportedModel:
    """Convert a network of others to a `.sqz` file, every weight bit for bit.

    file: the `compressed_SqueezeNet.net` of SqueezeNet's authors. out: the file to write; without it the model is kept in the
    cache, where its pretrained name finds it without a network connection. Raises SqueezekitError for any other file.
    """
    source, name = expanded(file), None
    if out is None:
        name = published_name(source)
        if name is None:
            raise SqueezekitError(f"{source}: is not a file that is known by name ({', '.join(PUBLISHED)}); give -o FILE")
        path = keep(name, source)
    else:
        path = expanded(out)
        read_deep_compression(source).write(path)
    sqz = read_sqz(path)
    return ImportedModel(str(path), path.stat().st_size, name, sqz.network.name, len(sqz.classes), sqz.network.image_size)
