"""The page of `check`: what was found in a folder of pictures, with thumbnails; one file that loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from squeezekit.data.findings import CopyGroup, Findings, FoundPicture
from squeezekit.data.image_file import MOST_PIXELS, read_image
from squeezekit.reporting.report import digest_of_text, page_environment
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.version import version

SIDE, QUALITY = 112, 70
# More make a page that nobody reads to its end, of many megabytes.
MOST_ROWS, MOST_IN_GROUP = 60, 8


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a `data:` address, "" where it cannot be shown, and what stands below it."""

    address: str
    picture: FoundPicture
    words: str = ""


@dataclass(frozen=True)
class ThumbnailSection:
    """Rows of thumbnails: those that belong together stand in one row. `left_out` rows are not shown."""

    title: str
    text: str
    rows: Sequence[Sequence[Thumbnail]]
    left_out: int


def write_check_page(findings: Findings, folder: Path, out: Path, max_pixels: int = MOST_PIXELS) -> None:
    """Write the page about the pictures in `folder`; raises SqueezekitError."""
    pages = resources.files(__package__) / "pages"
    style = "".join((pages / name).read_text(encoding="utf-8") for name in ("report.css", "check.css"))
    policy = f"default-src 'none'; img-src data:; style-src '{digest_of_text(style)}'; base-uri 'none'; form-action 'none'"
    sections = [section for section in _sections(findings, folder, max_pixels) if section.rows]
    template = page_environment().get_template("check.html.jinja")
    name = Path(findings.data).name or findings.data
    atomic_io.write_text(
        out,
        template.render(findings=findings, name=name, sections=sections, style=Markup(style), policy=policy, version=version()),
    )


def _sections(findings: Findings, folder: Path, max_pixels: int) -> list[ThumbnailSection]:
    def shown(picture: FoundPicture, words: str = "") -> Thumbnail:
        return Thumbnail(_address(folder / picture.path, max_pixels), picture, words)

    def section(title: str, text: str, rows: Sequence[Sequence[tuple[FoundPicture, str]]]) -> ThumbnailSection:
        thumbnails = [[shown(*each) for each in row[:MOST_IN_GROUP]] for row in rows[:MOST_ROWS]]
        return ThumbnailSection(title, text, thumbnails, max(len(rows) - MOST_ROWS, 0))

    doubtful = [
        [(each.picture, f"{each.likelier} {each.probability:.0%}, {each.picture.label} {each.probability_of_label:.0%}")]
        for each in findings.doubtful
    ]
    return [
        section(
            "Doubtful labels", "Classifiers that had not seen them take these for another class, the surest first.", doubtful
        ),
        section("Copies", "The same file several times, in each row.", _rows(findings.copies_of(near=False))),
        section(
            "Near-copies",
            "Resized, recompressed, brightened or slightly cropped, or of one burst. They stay on one side of every split.",
            _rows(findings.copies_of(near=True)),
        ),
        section("Blank", "One colour and nothing else.", [[(each, "")] for each in findings.blank]),
        section("Blurred", "Without a sharp edge.", [[(each, "")] for each in findings.blurred]),
    ]


def _rows(groups: Sequence[CopyGroup]) -> list[list[tuple[FoundPicture, str]]]:
    rows = []
    for group in groups:
        words = " and ".join(["in several classes"] * group.across_classes + ["in several parts"] * group.across_parts)
        more = len(group.pictures) - MOST_IN_GROUP
        last = f"and {more:,} more" if more > 0 else ""
        shown = [(each, words if at == 0 else "") for at, each in enumerate(group.pictures[:MOST_IN_GROUP])]
        if last:
            shown[-1] = (shown[-1][0], last)
        rows.append(shown)
    return rows


def _address(path: Path, max_pixels: int) -> str:
    try:
        pixels = read_image(path, SIDE, 3, max_pixels=max_pixels)
    except SqueezekitError:
        return ""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
