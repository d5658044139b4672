"""A report to read: one HTML page of run, search and cross-validation folders, and the same as CSV and SVG files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from squeezekit.reporting.document import Plot, ReportSection, Table
from squeezekit.reporting.localization import Language
from squeezekit.reporting.run_report import RunReport
from squeezekit.reporting.study_report import CrossValidationReport, StudyReport
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.version import version


def write_report(folders: Sequence[str | Path], out: str | Path, language: str = "en", assets: str | Path | None = None) -> Path:
    """Write the page about these folders to `out`, its tables and plots to the folder `assets` as well; returns `out`.

    Raises SqueezekitError for a folder that holds no finished run, search or cross-validation.
    """
    out, words = expanded(out), Language(language)
    parts = [_sections_of(expanded(folder), words) for folder in folders]
    page = _environment().get_template("report.html.jinja")
    text = page.render(language=words, parts=parts, version=version())
    atomic_io.write_text(out, text)
    if assets:
        _write_assets(parts, expanded(assets))
    return out


def _sections_of(folder: Path, language: Language) -> tuple[str, list[ReportSection]]:
    """Title and sections of one folder."""
    if (folder / "crossval.json").is_file():
        found = CrossValidationReport(_json(folder / "crossval.json"), language)
        return found.title, found.sections()
    if (folder / "study.db").is_file() or (folder / "trials.csv").is_file():
        if not (folder / "summary.json").is_file():
            raise SqueezekitError(f"{folder}: its search is not finished; go on with the same command")
        study = StudyReport(folder, _json(folder / "summary.json"), language)
        return study.title, study.sections()
    if not (folder / "config.toml").is_file():
        raise SqueezekitError(
            f"{folder}: holds no run, search or cross-validation; give what train, search or cross-validate has made"
        )
    run = RunReport(folder, language)
    return run.title, [run.aim(), *run.sections()]


def _json(path: Path) -> dict[str, object]:
    try:
        content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SqueezekitError(f"{path}: cannot be read ({error}); run the same command again") from None
    return content


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("squeezekit.reporting", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["sortable"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["unique_ids"] = _unique_ids
    return environment


def _unique_ids(svg: str, prefix: str) -> Markup:
    """An SVG with a prefix to its IDs, which all drawings of a page would share otherwise."""
    return Markup(re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", svg))


def _write_assets(parts: Sequence[tuple[str, list[ReportSection]]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_title, sections) in enumerate(parts):
        # Several folders may each have a table of that name.
        prefix = f"{number + 1}-" if len(parts) > 1 else ""
        for block in (block for section in sections for block in section.blocks):
            if isinstance(block, Table):
                atomic_io.write_text(folder / f"{prefix}{block.name}.csv", block.as_csv())
            elif isinstance(block, Plot):
                atomic_io.write_text(folder / f"{prefix}{block.name}.csv", block.data.as_csv())
                # A file of its own has no text around it whose color it could inherit.
                atomic_io.write_text(folder / f"{prefix}{block.name}.svg", block.svg.replace("currentColor", "#222222"))
