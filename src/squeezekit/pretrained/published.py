"""Trained networks that others publish: downloaded at first use, converted once, kept in the cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from squeezekit.data.decoded_store import cache_folder, writable
from squeezekit.data.download import download
from squeezekit.modelfile.container import split_sections
from squeezekit.modelfile.deep_compression_file import MAX_BYTES, read_deep_compression
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.file_lock import one_at_a_time
from squeezekit.system.outside_files import read_outside_bytes


@dataclass(frozen=True)
class Published:
    """A file that others publish: its name, size, SHA-256 and addresses; the images it was trained on, and its licence."""

    file: str
    addresses: tuple[str, ...]
    size: int
    sha256: str
    data: str
    licence: str


# By the name of the model that is made of it.
PUBLISHED = {
    "squeezenet1_0-imagenet": Published(
        "compressed_SqueezeNet.net",
        ("https://raw.githubusercontent.com/songhan/SqueezeNet-Deep-Compression/master/compressed_SqueezeNet.net",),
        675_763,
        "e4ab6960ae8cd81505e1c2136921201507e930966c53deaf15862a395b3a3261",
        "ImageNet",
        "BSD",
    )
}


def published_path(name: str) -> Path:
    """The `.sqz` file of a published model, in the cache; made of the downloaded file if need be. Raises SqueezekitError."""
    path = _converted(name)
    if _is_whole(path):
        return path
    published = PUBLISHED[name]
    with writable("downloads") as folder:
        source = download(
            folder / published.file,
            published.addresses,
            size=published.size,
            sha256=published.sha256,
            otherwise=f"run squeezekit import {published.file}",
        )
    return keep(name, source)


def keep(name: str, source: Path) -> Path:
    """Make the `.sqz` file of a published model of `source`, its file; returns where it is. Raises SqueezekitError."""
    with writable("pretrained") as folder, one_at_a_time(folder / f"{name}.lock"):
        path = _converted(name)
        if not _is_whole(path):
            read_deep_compression(source).write(path)
    return path


def published_name(source: Path) -> str | None:
    """The name of the model whose published file `source` is; None for any other file. Raises SqueezekitError."""
    digest = hashlib.sha256(read_outside_bytes(source, MAX_BYTES)).hexdigest()
    return next((name for name, published in PUBLISHED.items() if published.sha256 == digest), None)


def _converted(name: str) -> Path:
    return cache_folder() / "pretrained" / f"{name}.sqz"


def _is_whole(path: Path) -> bool:
    """Whether a file lies there whose digest is right."""
    try:
        split_sections(path.read_bytes())
    except (OSError, SqueezekitError):
        return False
    return True
