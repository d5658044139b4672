"""Integers, strings and bytes one after another: what the headers and sections of a file are made of.

Integers are unsigned LEB128: seven bits a byte, low ones first; every byte but the last has its highest bit set.
"""

from __future__ import annotations

from ..system.errors import SqueezekitError

INTEGER_LIMIT = 1 << 48


class ByteWriter:
    """Collects bytes; `bytes(writer)` is everything written so far."""

    def __init__(self) -> None:
        self._data = bytearray()

    def __bytes__(self) -> bytes:
        """Everything written so far."""
        return bytes(self._data)

    def write_integer(self, value: int) -> None:
        """Write an integer, 0 to 2**48 - 1."""
        while value >= 128:
            self._data.append(value & 127 | 128)
            value >>= 7
        self._data.append(value)

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are, without their length."""
        self._data += data

    def write_string(self, text: str) -> None:
        """Write the length of a string in UTF-8, then the string."""
        data = text.encode()
        self.write_integer(len(data))
        self.write_bytes(data)


class ByteReader:
    """Reads what a `ByteWriter` wrote, from `position` on.

    Every method raises SqueezekitError beyond the end and for what no `ByteWriter` writes.
    """

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data, self.position = data, position

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self.position == len(self._data)

    def read_integer(self) -> int:
        """Read an integer, below 2**48 and in its shortest form."""
        value, shift = 0, 0
        while True:
            byte = self.read_bytes(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift >= 49:
                raise SqueezekitError("damaged: a number is too large; get the file again")
        if value >= INTEGER_LIMIT or (shift and byte == 0):
            raise SqueezekitError("damaged: a number makes no sense; get the file again")
        return value

    def read_bytes(self, count: int) -> bytes:
        """Read so many bytes."""
        if count > len(self._data) - self.position:
            raise SqueezekitError("damaged or cut short; get the file again")
        self.position += count
        return self._data[self.position - count : self.position]

    def read_string(self) -> str:
        """Read a string."""
        try:
            return self.read_bytes(self.read_integer()).decode()
        except UnicodeDecodeError:
            raise SqueezekitError("damaged: a string is not UTF-8; get the file again") from None
