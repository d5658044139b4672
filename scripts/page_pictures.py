"""One picture of what `squeezekit make` leaves: its report on a desk, its page on a phone.

    python scripts/page_pictures.py OUT [-o docs/made.png]

OUT is the folder that `make` has filled. Chromium takes the pictures.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

# Pages, the window that each is seen in, and how large it is shown.
PAGES = (("report.html", (900, 1100), 0.62), ("classifier.html", (390, 844), 0.62))
MARGIN = 24


def main() -> int:
    """Take the pictures, put them side by side."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="OUT", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/made.png"))
    given = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("page_pictures.py: Chromium is not installed; apt-get install chromium", file=sys.stderr)
        return 2
    pictures = [shown(browser, given.folder / name, window, share) for name, window, share in PAGES]
    width = sum(picture.width for picture in pictures) + MARGIN * (len(pictures) + 1)
    whole = Image.new("RGB", (width, max(picture.height for picture in pictures) + 2 * MARGIN), "#d5dde5")
    left = MARGIN
    for picture in pictures:
        whole.paste(picture, (left, MARGIN))
        left += picture.width + MARGIN
    whole.quantize(128).save(given.out, optimize=True)
    return 0


def shown(browser: str, page: Path, window: tuple[int, int], share: float) -> Image.Image:
    """The upper part of a page, as that window shows it, scaled."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "page.png"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=2"]
        size = f"--window-size={window[0]},{window[1]}"
        command = [browser, *flags, size, f"--user-data-dir={folder}/profile", f"--screenshot={file}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(file) as picture:
            size_shown = (round(window[0] * share), round(window[1] * share))
            return picture.convert("RGB").resize(size_shown, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    sys.exit(main())
