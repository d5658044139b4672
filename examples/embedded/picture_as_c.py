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


def main() -> None:
    """Parse, convert, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", metavar="PICTURE", type=Path)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    header = (given.folder / "classifier.h").read_text(encoding="utf-8")
    side, channels = (int(re.findall(rf"#define CLASSIFIER_{name} (\d+)", header)[0]) for name in ("SIDE", "CHANNELS"))
    pixels = read_image(given.picture, side, channels).tobytes()
    numbers = textwrap.fill(", ".join(map(str, pixels)), 130)
    text = f"/* {side} x {side} pixels of {channels} bytes, row by row. */\n#include <stdint.h>\n\n"
    given.out.write_text(text + f"static const uint8_t picture[{len(pixels)}] = {{\n{numbers}}};\n", encoding="utf-8")


if __name__ == "__main__":
    main()
