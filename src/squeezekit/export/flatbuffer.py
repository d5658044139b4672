"""Tables of FlatBuffers as plain data, and the bytes that they become.

A table is a dict from the numbers of its fields, as the schema counts them, to their values; fields that are left out have the
schema's defaults. A field is a number of a NumPy type, which says its width, a text, a table, bytes or a NumPy array of numbers,
or a list of tables or texts. The writing is that of the package `flatbuffers`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Table = dict[int, Any]
# What other programs expect of constants that they read in place.
ALIGNMENT = 16
OFFSET_BYTES = 4


def packed(table: Table, identifier: str) -> bytes:
    """A file of one root table, `identifier` its four letters."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(_put(builder, table), file_identifier=identifier.encode())
    return bytes(builder.Output())


def _put(builder: Any, value: Any) -> int:
    """Write anything but a number; returns where it is. What it refers to is written first."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, bytes):
        return _put_bytes(builder, value)
    if isinstance(value, np.ndarray):
        return int(builder.CreateNumpyVector(value))
    if isinstance(value, list):
        places = [_put(builder, entry) for entry in value]
        builder.StartVector(OFFSET_BYTES, len(places), OFFSET_BYTES)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return int(builder.EndVector())
    return _put_table(builder, value)


def _put_bytes(builder: Any, content: bytes) -> int:
    builder.StartVector(1, len(content), ALIGNMENT)
    builder.head -= len(content)
    builder.Bytes[builder.head : builder.head + len(content)] = content
    return int(builder.EndVector())


def _put_table(builder: Any, table: Table) -> int:
    from flatbuffers import number_types

    fields = {number: value if isinstance(value, np.generic) else _put(builder, value) for number, value in table.items()}
    builder.StartObject(max(fields, default=-1) + 1)
    for number, value in fields.items():
        if isinstance(value, np.generic):
            flags = getattr(number_types, f"{value.dtype.name.capitalize()}Flags")
            builder.PrependSlot(flags, number, value.item(), None)
        else:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return int(builder.EndObject())
