"""A report to read: one HTML page of run, search and cross-validation folders, and the same as CSV and SVG files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from squeezekit.reporting.document import Plot, Section, Table
from squeezekit.reporting.language import Language
from squeezekit.reporting.run_story import RunStory
from squeezekit.reporting.study_story import CrossValidationStory, StudyStory
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.version import version
from squeezekit.training.run_folder import Run


def write_report(folders: Sequence[str | Path], out: str | Path, language: str = "en", assets: str | Path | None = None) -> Path:
    """Write the page about these folders to `out`, its tables and plots to the folder `assets` as well; returns `out`.

    Raises SqueezekitError for a folder that holds no finished run, search or cross-validation.
    """
    say, out = Language(language), Path(out).expanduser()
    parts = [_story(Path(folder).expanduser(), say) for folder in folders]
    page = _environment(say).get_template("report.html.jinja")
    text = page.render(say=say, parts=parts, version=version())
    atomic_io.write_text(out, text)
    if assets:
        _write_assets(parts, Path(assets).expanduser())
    return out


def _story(folder: Path, say: Language) -> tuple[str, list[Section]]:
    """Title and sections."""
    if (folder / "crossval.json").is_file():
        found = CrossValidationStory(_json(folder / "crossval.json"), say)
        return found.title, found.sections()
    if (folder / "study.db").is_file() or (folder / "trials.csv").is_file():
        if not (folder / "summary.json").is_file():
            raise SqueezekitError(f"{folder}: its search is not finished; go on with the same command")
        study = StudyStory(folder, _json(folder / "summary.json"), say)
        return study.title, study.sections()
    if not (folder / "config.toml").is_file():
        raise SqueezekitError(f"{folder}: holds no run, search or cross-validation; give what train, search or crossval has made")
    story = RunStory(Run(folder), say)
    return story.title, [story.aim(), *story.sections()]


def _json(path: Path) -> dict[str, object]:
    try:
        content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SqueezekitError(f"{path}: cannot be read ({error}); run the same command again") from None
    return content


def _environment(say: Language) -> Environment:
    environment = Environment(
        loader=PackageLoader("squeezekit.reporting", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["sortable"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["own_names"] = _own_names
    return environment


def _own_names(svg: str, prefix: str) -> Markup:
    """With names of its own, since all drawings of a page share them."""
    return Markup(re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", svg))


def _write_assets(parts: Sequence[tuple[str, list[Section]]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_title, sections) in enumerate(parts):
        # Several folders may each have a table of that name.
        prefix = f"{number + 1}-" if len(parts) > 1 else ""
        for block in (block for section in sections for block in section.blocks):
            if isinstance(block, Table):
                atomic_io.write_text(folder / f"{prefix}{block.name}.csv", block.as_csv())
            elif isinstance(block, Plot):
                atomic_io.write_text(folder / f"{prefix}{block.name}.csv", block.data.as_csv())
                # Alone there is no text around it whose colour it could take.
                atomic_io.write_text(folder / f"{prefix}{block.name}.svg", block.svg.replace("currentColor", "#222222"))
