"""Pickles that hold dictionaries, lists, text, numbers and arrays of bytes, read without trusting them.

Python's own reader builds whatever a pickle asks for, and a byte may ask for a thousand. This one calls nothing, takes so many
steps and no more, and copies no more than the pickle is long.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The official batches take 50,000: a number and a name for each of 10,000 pictures.
MOST_STEPS = 500_000

VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
VALUES |= {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
PYTHON_2_TEXT = {"BINSTRING", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], object]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
PUTS, GETS = {"BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"BINGET", "LONG_BINGET"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(content: bytes) -> Any:
    """What a pickle of protocol 2 or later holds; text of Python 2 as bytes, arrays as `InertArray`.

    Damaged or hostile ones raise ValueError, or nearly anything.
    """
    machine = _Machine(len(content))
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if steps == MOST_STEPS:
            raise ValueError("its pickle takes more steps than any batch needs")
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.step(opcode.name, argument)
    raise ValueError("its pickle breaks off")


@dataclass(frozen=True)
class InertType:
    """Stands for numpy.dtype: the code of the type."""

    code: str | bytes


class InertArray:
    """Stands for numpy.ndarray: keeps the state of its pickle, and becomes an array only when that is plain bytes."""

    def __init__(self) -> None:
        self.state: Any = ()

    def pixels(self) -> NDArray[np.uint8]:
        """The array, uint8; raises ValueError for any other."""
        _, shape, kind, columns_first, content = self.state
        if not isinstance(kind, InertType) or kind.code not in ("u1", b"u1") or not isinstance(content, bytes):
            raise ValueError("its pixels are not bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns_first else "C")


@dataclass(frozen=True)
class _Known:
    """One of the five names that a numpy array needs."""

    name: str


# Protocol 2 of Python 3 has Python 2's numpy and bytes.
KNOWN = {
    "numpy.core.multiarray._reconstruct": _Known("array"),
    "numpy._core.multiarray._reconstruct": _Known("array"),
    "numpy.ndarray": _Known("class"),
    "numpy.dtype": _Known("type"),
    "_codecs.encode": _Known("bytes"),
}


@dataclass
class _Machine:
    """The stack machine that a pickle is a program of; `bytes_left` may be copied from text to bytes."""

    bytes_left: int
    stack: list[Any] = field(default_factory=list)
    _marks: list[int] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        if name in VALUES:
            self.stack.append(argument)
        elif name in PYTHON_2_TEXT:
            self.stack.append(argument.encode("latin-1"))
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name in GETS:
            self.stack.append(self._memo[argument])
        elif name in PUTS:
            self._memo[len(self._memo) if argument is None else argument] = self.stack[-1]
        elif name == "MARK":
            self._marks.append(len(self.stack))
        elif name not in ("PROTO", "FRAME"):
            self._collect(name, argument)

    def _collect(self, name: str, argument: Any) -> None:
        if name in TUPLES:
            self.stack.append(tuple(self._taken(len(self.stack) - TUPLES[name])))
        elif name == "TUPLE":
            self.stack.append(tuple(self._taken(self._marks.pop())))
        elif name in ("APPEND", "APPENDS"):
            added = self._taken(self._marks.pop() if name == "APPENDS" else len(self.stack) - 1)
            self._top(list).extend(added)
        elif name in ("SETITEM", "SETITEMS"):
            pairs = self._taken(self._marks.pop() if name == "SETITEMS" else len(self.stack) - 2)
            # Numbers and tuples can be chosen so that finding each takes as long as looking at all.
            if not all(isinstance(key, str | bytes) for key in pairs[::2]):
                raise ValueError("its pickle has keys that are not text")
            self._top(dict).update(zip(pairs[::2], pairs[1::2], strict=True))
        else:
            self._call(name, argument)

    def _call(self, name: str, argument: Any) -> None:
        if name == "GLOBAL":
            self.stack.append(_known(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            self.stack.append(_known(".".join(map(str, self._taken(len(self.stack) - 2)))))
        elif name == "REDUCE":
            function, arguments = self._taken(len(self.stack) - 2)
            self.stack.append(self._made(function, arguments))
        elif name == "BUILD":
            (state,) = self._taken(len(self.stack) - 1)
            # The byte order and the like, which a type brings, bytes do not have.
            if not isinstance(self.stack[-1], InertType):
                self._top(InertArray).state = state
        else:
            raise ValueError(f"its pickle has {name}, which no batch needs")

    def _made(self, function: object, arguments: Any) -> object:
        kind = function.name if isinstance(function, _Known) else ""
        if kind == "array":
            return InertArray()
        if kind == "type":
            return InertType(arguments[0])
        if kind == "bytes":
            text, encoding = arguments
            self.bytes_left -= len(text)
            if encoding == "latin1" and self.bytes_left >= 0:
                return text.encode("latin-1")
        raise ValueError("its pickle makes something that no batch holds")

    def _taken(self, start: int) -> list[Any]:
        """What stands on the stack from `start` on, taken off it."""
        if start < 0:
            raise ValueError("its pickle takes more than there is")
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError("its pickle changes something of another kind")
        return self.stack[-1]


def _known(name: str) -> _Known:
    if name not in KNOWN:
        raise ValueError(f"its pickle asks for {name}, which no batch needs")
    return KNOWN[name]
