"""Save three of the digits that `make demo` did not train on as PNG files: python save_digits.py FOLDER.

`three.png` in this folder is one of them.
"""

import sys
from pathlib import Path

from PIL import Image

from squeezekit.data.sources import load_images

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
test = load_images("digits").test
for label in (3, 5, 8):
    index = int((test.labels == label).argmax())
    Image.fromarray(test.images[index].squeeze()).save(folder / f"{test.classes[label]}.png")
