"""A picture as the bytes that exported C takes: a header for a program without files.

    python examples/embedded/picture_as_c.py PICTURE FOLDER -o picture.h

FOLDER is what `squeezekit export MODEL --format c` wrote. The picture is turned, cut and resized as squeezekit does for it.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from pathlib import Path

from squeezekit.data.image_file import read_image
from squeezekit.system.errors import SqueezekitError


def main() -> None:
    """Parse, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", metavar="PICTURE", type=Path)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    try:
        side, channels = size_of(given.folder)
        pixels = read_image(given.picture, side, channels).tobytes()
        numbers = textwrap.fill(", ".join(map(str, pixels)), 130)
        text = f"/* {side} x {side} pixels of {channels} bytes, row by row. */\n#include <stdint.h>\n\n"
        given.out.write_text(text + f"static const uint8_t picture[{len(pixels)}] = {{\n{numbers}}};\n", encoding="utf-8")
    except SqueezekitError as problem:
        parser.error(str(problem))
    except OSError as problem:
        parser.error(f"{problem.filename}: {problem.strerror}")


def size_of(folder: Path) -> tuple[int, int]:
    """Side in pixels and bytes of a pixel, as the header of an export says them; raises SqueezekitError."""
    sizes = [
        re.findall(r"#define [A-Z0-9_]+_(?:SIDE|CHANNELS) (\d+)", header.read_text(encoding="utf-8", errors="replace"))
        for header in folder.glob("*.h")
    ]
    found = [size for size in sizes if len(size) == 2]
    if len(found) != 1:
        raise SqueezekitError(
            f"{folder}: holds not one header that squeezekit export --format c wrote; name the folder of an export"
        )
    return int(found[0][0]), int(found[0][1])


if __name__ == "__main__":
    main()
