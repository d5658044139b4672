"""The page "Try it" of the site: shipped classifiers, as `squeezekit export --format html` writes them, and drawings."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import site_pictures

from squeezekit.export.html.export import export_html
from squeezekit.inference.model import load_model
from squeezekit.pretrained.files import model_path

# The classifiers, and the drawings that are offered with each.
OFFERED = {
    "digits-nano": ("digit-0", "digit-3", "digit-4", "digit-7"),
    "cifar10-nano": ("airplane", "automobile", "ship", "truck"),
    "photo-s": ("stop_sign", "strawberry", "yin_yang"),
}
PLACE = '<div id="live"></div>'


def write(pages: Path) -> None:
    """Write classifiers and pictures beside the pages, and put what shows them into `try-it.md`."""
    folder = pages / "try-it"
    (folder / "pictures").mkdir(parents=True)
    for name in OFFERED:
        export_html(name, folder / f"{name}.html")
    for name in sorted({name for names in OFFERED.values() for name in names}):
        site_pictures.DRAWINGS[name]().save(folder / "pictures" / f"{name}.png", optimize=True)
    page = pages / "try-it.md"
    text = page.read_text(encoding="utf-8")
    if text.count(PLACE) != 1:
        raise ValueError(f"try-it.md: one line {PLACE} is needed")
    page.write_text(text.replace(PLACE, _live()), encoding="utf-8")


def _live() -> str:
    # Without empty lines, which would end the block in Markdown.
    lines = ['<div id="live" class="live">', "<fieldset>", "<legend>A classifier</legend>"]
    for number, name in enumerate(OFFERED):
        about = f"{model_path(name).stat().st_size:,} bytes, {len(load_model(name).classes)} classes"
        checked = " checked" if number == 0 else ""
        lines.append(
            f'<label><input type="radio" name="model" value="{name}"{checked}> <code>{name}</code> <small>{about}</small></label>'
        )
    lines += ["</fieldset>", '<p id="live-offer">Click a drawing, or give a picture of your own below:</p>']
    for name, pictures in OFFERED.items():
        lines.append(f'<div class="live-pictures" data-model="{name}">')
        lines += [_button(picture) for picture in pictures]
        lines.append("</div>")
    first = next(iter(OFFERED))
    lines += [
        '<p id="live-problem" role="alert"></p>',
        f'<iframe title="The classifier" src="try-it/{first}.html" allow="camera; clipboard-read"></iframe>',
        f'<p>What you see is one file that needs no network: <a href="try-it/{first}.html" download>download it</a>.</p>',
        "</div>",
        '<script src="theme/live.js" defer></script>',
    ]
    return "\n".join(lines)


def _button(picture: str) -> str:
    words = escape(re.sub(r"[-_]", " ", picture))
    image = f'<img src="try-it/pictures/{picture}.png" alt="{words}" width="72" height="72">'
    return f'<button type="button" title="{words}">{image}</button>'
