"""Small archives in CIFAR-10's formats, written as Python 2 wrote the official ones."""

import io
import pickle
import tarfile
from typing import ClassVar

import numpy as np

NAMES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")


def random_batches(count=20, seed=0):
    """{name: (uint8 [count, 3072] in planes, labels)}, every class in every batch."""
    randomness = np.random.default_rng(seed)
    pixels = {name: randomness.integers(0, 256, (count, 3072), dtype=np.uint8) for name in NAMES}
    return {name: (data, [at % 10 for at in range(count)]) for name, data in pixels.items()}


def as_images(data):
    """[n, 3072] in planes -> [n, 32, 32, 3], by a route other than the library's."""
    red, green, blue = (data[:, plane * 1024 : (plane + 1) * 1024].reshape(-1, 32, 32) for plane in range(3))
    return np.stack([red, green, blue], axis=-1)


class Python2Pickler(pickle._Pickler):
    """Text and bytes alike become Python 2's strings, and numpy's module has its old name."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_text(self, value):
        content = value.encode() if isinstance(value, str) else value
        self.write(b"T" + len(content).to_bytes(4, "little") + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(f"c{module}\n{name or value.__qualname__}\n".encode())
        self.memoize(value)


def pickled(data, labels):
    """A batch as in the official archive (pickle protocol 2)."""
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump({"batch_label": "one of many", "labels": labels, "data": data, "filenames": []})
    return file.getvalue()


def records(data, labels):
    """A batch as in the binary version."""
    return np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1).tobytes()


def python_members(batches):
    """The files of cifar-10-python.tar.gz."""
    members = {f"cifar-10-batches-py/{name}": pickled(*batch) for name, batch in batches.items()}
    return {"cifar-10-batches-py/batches.meta": b"not needed", **dict(reversed(members.items()))}


def binary_members(batches):
    """The files of cifar-10-binary.tar.gz."""
    members = {f"cifar-10-batches-bin/{name}.bin": records(*batch) for name, batch in batches.items()}
    return {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n", **members}


def tar(members, mode="w:gz"):
    """The bytes of an archive of {name: content}."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()
