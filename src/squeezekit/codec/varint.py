"""Integers and texts one after another in bytes: what lists and sections of a file are written in."""

from __future__ import annotations

from squeezekit.system.errors import SqueezekitError

MOST = 1 << 48


class Fields:
    """Bytes to write to or to read from; reading beyond the end raises SqueezekitError."""

    def __init__(self, data: bytes = b"", position: int = 0) -> None:
        self._data, self.position = bytearray(data), position

    def __bytes__(self) -> bytes:
        """Everything written."""
        return bytes(self._data)

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self.position == len(self._data)

    def write_integer(self, value: int) -> None:
        """An integer from 0 on, seven bits a byte, low ones first; all bytes but its last have the highest bit set."""
        while value >= 128:
            self._data.append(value & 127 | 128)
            value >>= 7
        self._data.append(value)

    def read_integer(self) -> int:
        """What `write_integer` wrote, below 2**48 and in its shortest form."""
        value, shift = 0, 0
        while True:
            octet = self.read(1)[0]
            value |= (octet & 127) << shift
            if octet < 128:
                break
            shift += 7
            if shift >= 49:
                raise SqueezekitError("damaged: a number is too large; get the file again")
        if value >= MOST or (shift and octet == 0):
            raise SqueezekitError("damaged: a number makes no sense; get the file again")
        return value

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self._data += data

    def read(self, count: int) -> bytes:
        """That many bytes."""
        if count > len(self._data) - self.position:
            raise SqueezekitError("damaged or cut short; get the file again")
        self.position += count
        return bytes(self._data[self.position - count : self.position])

    def write_text(self, text: str) -> None:
        """A text with its length."""
        data = text.encode()
        self.write_integer(len(data))
        self.write(data)

    def read_text(self) -> str:
        """What `write_text` wrote."""
        try:
            return self.read(self.read_integer()).decode()
        except UnicodeDecodeError:
            raise SqueezekitError("damaged: a text is none; get the file again") from None
