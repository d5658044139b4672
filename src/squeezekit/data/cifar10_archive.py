"""The files of CIFAR-10, packed or unpacked, Python or binary version, read without trusting them.

Nothing is written to the disk: the six batches are taken out of the archive by their exact names, and `plain_pickle` reads
those of the Python version.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from squeezekit.data.plain_pickle import InertArray, load
from squeezekit.system.errors import SqueezekitError

LabeledImages = tuple[NDArray[np.uint8], NDArray[np.int64]]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
# Keras puts the unpacked folder up to two levels down.
FOLDERS = ("", "cifar-10-batches-py", "cifar-10-batches-py-target/cifar-10-batches-py", "cifar-10-batches-bin")
SIDE = 32
PIXELS = 3 * SIDE * SIDE
# The largest batch has 31,035,704 bytes, and the whole archive unpacks to 186 million.
MAX_BATCH_BYTES = 2**26
MAX_BYTES = 2**28
# The official archive has nine entries, and each is an object to make.
MOST_MEMBERS = 1000
MOST_REASON = 200
WITHOUT_CONTENT = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)


def read_cifar10(path: Path) -> tuple[LabeledImages, LabeledImages]:
    """The training and the test images of an archive (tar.gz or tar), or of the folder that holds the six batches.

    Each is (uint8 [n, 32, 32, 3], int64 [n]), in the order of the batches. Raises SqueezekitError.
    """
    try:
        batches = _unpacked(path) if path.is_dir() else _packed(path)
        for name in BATCHES:
            if name not in batches:
                raise ValueError(f"it holds no {name}")
        images, labels = (np.concatenate(arrays) for arrays in zip(*(batches[name] for name in BATCHES[:-1]), strict=True))
        return (images, labels), batches[BATCHES[-1]]
    # Damaged input makes gzip, tarfile and pickletools raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error)[:MOST_REASON].split()) or type(error).__name__
        raise SqueezekitError(
            f"{path} cannot be read as CIFAR-10 ({reason}): give the whole cifar-10-python.tar.gz, "
            "cifar-10-binary.tar.gz, or the folder that one of them unpacks to"
        ) from error


def find_batches(folder: Path) -> Path | None:
    """The folder, at `folder` or a little below, that holds unpacked batches; None when there is none."""
    return next((folder / below for below in FOLDERS if batch_files(folder / below)), None)


def batch_files(folder: Path) -> list[Path]:
    """Those of the six batches that lie in `folder`, of either version."""
    candidates = (folder / (name + suffix) for name in BATCHES for suffix in ("", ".bin"))
    return [path for path in candidates if path.is_file()]


def _unpacked(folder: Path) -> dict[str, LabeledImages]:
    batches = {}
    for path in batch_files(folder):
        with path.open("rb") as file:
            batches[path.stem] = _batch(path.name, _Limited(file).read())
    return batches


def _packed(path: Path) -> dict[str, LabeledImages]:
    # Opening a pipe would wait for somebody to write to it.
    if not path.is_file():
        raise ValueError("it is not a file")
    batches = {}
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain = _Limited(cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file)
        for name, content in _members(plain):
            batches[name.removesuffix(".bin")] = _batch(name, content)
        # The check sum of what was packed comes last.
        while plain.read(MAX_BATCH_BYTES // 64):
            pass
    return batches


def _members(archive: _Limited) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each batch in a tar archive.

    A batch is a plain file of one of twelve names: whatever else a tar may hold is passed over, as long as it says it is.
    """
    expected = {f"cifar-10-batches-py/{name}" for name in BATCHES} | {f"cifar-10-batches-bin/{name}.bin" for name in BATCHES}
    for _ in range(MOST_MEMBERS):
        header = archive.read(tarfile.BLOCKSIZE)
        if not header.strip(b"\0"):
            return
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        size = 0 if member.type in WITHOUT_CONTENT else member.size
        if not 0 <= size < MAX_BATCH_BYTES:
            raise ValueError("it is far larger than CIFAR-10")
        content = archive.read(size)
        if len(content) < size:
            raise ValueError("it breaks off")
        archive.read(-size % tarfile.BLOCKSIZE)
        if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.name in expected:
            yield member.name.rpartition("/")[2], content
    raise ValueError(f"it has more than {MOST_MEMBERS:,} entries")


class _Limited:
    """A file that gives no more than CIFAR-10 needs: a guard against decompression bombs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._read = file, 0

    def read(self, size: int = MAX_BATCH_BYTES) -> bytes:
        content = self._file.read(size)
        self._read += len(content)
        if self._read > MAX_BYTES or len(content) >= MAX_BATCH_BYTES:
            raise ValueError("it is far larger than CIFAR-10")
        return content


def _batch(name: str, content: bytes) -> LabeledImages:
    pixels, labels = _records(content) if name.endswith(".bin") else _pickled(content)
    if pixels.ndim != 2 or pixels.shape[1] != PIXELS or labels.shape != pixels.shape[:1] or not len(labels):
        raise ValueError(f"{name} does not hold pictures of {PIXELS} bytes with a label each")
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise ValueError(f"{name} holds a label that is not 0 to 9")
    # Stored as planes of red, green and blue.
    images = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels


def _records(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    records = np.frombuffer(content, np.uint8)
    if len(records) % (1 + PIXELS):
        raise ValueError("a binary batch breaks off inside a picture")
    records = records.reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _pickled(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = load(content)
    if not isinstance(batch, dict):
        raise ValueError("a batch is no dictionary")
    # The official batches were written by Python 2, whose text arrives here as bytes.
    named = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = named.get("data"), named.get("labels")
    if not isinstance(data, InertArray) or not isinstance(labels, list):
        raise ValueError("a batch holds no data or no labels")
    # Before numpy sees them: lists within lists, each twice in the next, are more numbers than there is memory.
    if not all(type(label) is int for label in labels):
        raise ValueError("a batch holds labels that are not whole numbers")
    return data.pixels(), np.array(labels, dtype=np.int64)
