"""`squeezekit report`."""

from __future__ import annotations

from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.standard_output import show, show_json


def add_arguments(parser: Parser) -> None:
    """The flags of `report`."""
    parser.explain(
        "report runs/digits -o report.html",
        "report runs/digits studies/rate --lang fr -o rapport.html",
        usage="FOLDER … -o FILE [settings]",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="finished runs, searches and cross-validations")
    parser.add_out("FILE", "HTML file to write")
    parser.add_argument("--lang", dest="language", choices=["en", "fr"], help="language of the report (default en)")
    parser.add_argument("--assets", metavar="DIR", help="also write tables as CSV and plots as SVG files into this folder")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, json: bool = False, **options: Any) -> int:
    """Write the report, print where it is."""
    from squeezekit.reporting.report import write_report

    page = write_report(**options)
    size = page.stat().st_size
    if json:
        show_json({"file": str(page), "bytes": size})
    else:
        show(f"{page}: {size:,} bytes")
        say("open it in a browser")
    return 0
