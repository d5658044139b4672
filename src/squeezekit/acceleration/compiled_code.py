"""Functions that numba compiles, and the files in which it keeps what it has made.

numba itself believes its files: an empty one is an EOFError in every command, and one changed bit is other machine code. Here
each begins with the digest of the rest, what is not whole is made again, and a folder that cannot be written costs only time.
"""

# numba's own functions say no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, UserProvidedCacheLocator

from squeezekit.acceleration.kernel_cache import kernel_folder
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError

Function = TypeVar("Function", bound=Callable[..., Any])
DIGEST_BYTES = 32


def compiled(**options: Any) -> Callable[[Function], Function]:
    """A decorator: numba compiles the function when it is called, and keeps that in `kernel_folder`, if there is one."""

    def compile_later(function: Function) -> Function:
        made = njit(**options)(function)
        # For a user without a home nothing is kept.
        with suppress(SqueezekitError):
            made._cache = _Kept(function)
        return made  # type: ignore[no-any-return]

    return compile_later


class _Place(UserProvidedCacheLocator):
    """Our folder, whether or not it can be written: another user may have filled it."""

    def __init__(self, function: Any, file: str) -> None:
        super().__init__(function, file)
        self._cache_path = str(kernel_folder() / self.get_suitable_cache_subpath(file))

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Place:
        return cls(function, file)


class _Overload(CompileResultCacheImpl):
    _locator_classes: list[type[object]] = [_Place]  # noqa: RUF012 (as the class above it says)


class _Kept(FunctionCache):
    """Saves what numba has compiled, and loads what is whole."""

    _impl_class = _Overload

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = _CheckedFiles(self._cache_path, f"checked-{self._impl.filename_base}", locator.get_source_stamp())

    def save_overload(self, sig: Any, data: Any) -> None:
        """As numba does; without a place for it the next process compiles once more."""
        with suppress(OSError):
            super().save_overload(sig, data)


class _CheckedFiles(IndexDataCacheFile):
    """An index, and a file for each signature, with a digest in front of each."""

    def _load_index(self) -> dict[Any, str]:
        index = self._read(self._index_path)
        if index is None or index[:2] != (self._version, self._source_stamp):
            return {}
        return index[2]  # type: ignore[no-any-return]

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return self._read(self._data_path(name))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _write(self, path: str, value: Any) -> None:
        content = self._dump(value)
        with self._open_for_write(path) as file:
            file.write(hashlib.sha256(content).digest() + content)

    def _read(self, path: str) -> Any:
        """What `_write` has written; None where there is no such file or it is damaged, which is said."""
        try:
            whole = Path(path).read_bytes()
        except OSError:
            return None
        digest, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            _say_damaged(Path(path).parent)
            return None
        return pickle.loads(content)


@cache
def _say_damaged(folder: Path) -> None:
    """Once a process, however many files are."""
    say(f"compiled code in {folder} is damaged: it is made again")
