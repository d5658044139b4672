"""A report to read: one HTML page of run, search and cross-validation folders, and the same as CSV and SVG files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from squeezekit.reporting.document import Plot, ReportSection, Table
from squeezekit.reporting.localization import Language
from squeezekit.reporting.run_report import RunReport
from squeezekit.reporting.study_report import CrossValidationReport, StudyReport
from squeezekit.reporting.svg import in_color, with_prefix
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_text
from squeezekit.system.paths import expanded
from squeezekit.system.shown_text import shown
from squeezekit.system.version import version

# Control characters, signs that turn the direction of writing, and what no encoding can write.
UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What values of another kind than those that were written end in.
DAMAGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, StopIteration, EOFError)
Part = tuple[str, list[ReportSection]]


def write_report(
    folders: Sequence[str | Path],
    out: str | Path,
    language: str = "en",
    assets: str | Path | None = None,
    left_out: Callable[[str], None] | None = None,
) -> Path:
    """Write the page about these folders to `out`, its tables and plots to the folder `assets` as well; returns `out`.

    Raises SqueezekitError for a folder that holds no finished run, search or cross-validation; `left_out`, if given, is called
    with the reason instead, as long as another folder can be reported.
    """
    out, words = expanded(out), Language(language)
    parts = _parts([expanded(folder) for folder in folders], words, left_out)
    atomic_io.write_text(out, _page(parts, words))
    if assets:
        _write_assets(parts, expanded(assets))
    return out


def _parts(folders: Sequence[Path], language: Language, left_out: Callable[[str], None] | None) -> list[Part]:
    parts: list[Part] = []
    problems: list[SqueezekitError] = []
    for folder in folders:
        try:
            parts.append(_sections_of(folder, language))
        except SqueezekitError as error:
            if left_out is None:
                raise
            problems.append(error)
    refused = None if parts else problems.pop(0)
    for problem in problems:
        assert left_out is not None
        left_out(str(problem))
    if refused:
        raise refused
    return parts


def _sections_of(folder: Path, language: Language) -> Part:
    """Title and sections of one folder; raises SqueezekitError, whatever is in its files."""
    try:
        return _report_of(folder, language)
    except DAMAGE as error:
        reason = f"{type(error).__name__}: {error}"
        raise SqueezekitError(f"{folder}: holds values that squeezekit does not write ({reason}); make it again") from None
    except OSError as error:
        raise SqueezekitError(f"{folder}: cannot be read ({error.strerror})") from None


def _report_of(folder: Path, language: Language) -> Part:
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


def _json(path: Path) -> dict[str, Any]:
    # Losses of a trial that diverged are not finite.
    text = read_outside_text(path)
    try:
        content: dict[str, Any] = json.loads(text, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise SqueezekitError(f"{path}: is not valid JSON ({error}); run the same command again") from None
    return content


def _integer(digits: str) -> int:
    if len(digits) > 18:
        raise ValueError(f"{digits[:18]}… is too large a number")
    return int(digits)


def _page(parts: Sequence[Part], language: Language) -> str:
    pages = resources.files(__package__) / "pages"
    style, script = ((pages / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{digest_of_text(style)}'; script-src '{digest_of_text(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = page_environment().get_template("report.html.jinja")
    own = {"style": Markup(style), "script": Markup(script), "policy": policy, "version": version()}
    return template.render(language=language, parts=parts, **own)


def digest_of_text(text: str) -> str:
    """What a Content-Security-Policy calls an element of this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def page_environment() -> Environment:
    """What fills the templates in `pages`: text is escaped, and what a page cannot hold is shown as an escape."""
    environment = Environment(
        loader=PackageLoader("squeezekit.reporting", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_fit,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["sortable"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["drawing"] = lambda plot, prefix: Markup(with_prefix(plot.svg, prefix))
    return environment


def _fit(value: Any) -> Any:
    """Text without what a page cannot hold."""
    return UNFIT.sub(lambda found: shown(found[0]), value) if type(value) is str else value


def _write_assets(parts: Sequence[Part], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_title, sections) in enumerate(parts):
        # Several folders may each have a table of that name.
        prefix = f"{number + 1}-" if len(parts) > 1 else ""
        for block in (block for section in sections for block in section.blocks):
            if isinstance(block, Table):
                atomic_io.write_text(folder / f"{prefix}{block.name}.csv", block.as_csv())
            elif isinstance(block, Plot):
                atomic_io.write_text(folder / f"{prefix}{block.name}.csv", block.data.as_csv())
                atomic_io.write_text(folder / f"{prefix}{block.name}.svg", in_color(block.svg, "#222222"))
