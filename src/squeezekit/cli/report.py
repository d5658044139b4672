"""`squeezekit report`."""

from __future__ import annotations

import argparse
from typing import Any

from squeezekit.system.console import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `squeezenet-cifar`."""
    parser.epilog = """examples:
  squeezekit report runs/photos -o report.html
  squeezekit report studies/mine studies/plain -o rapport.html --lang fr --assets figures/"""
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="finished runs, searches and cross-validations")
    parser.add_argument("-o", dest="out", metavar="FILE", required=True, help="the HTML file to write")
    parser.add_argument("--lang", dest="language", choices=["en", "fr"], help="language of the report (default en)")
    parser.add_argument("--assets", metavar="DIR", help="also write tables as CSV and plots as SVG files there")
    parser.set_defaults(run=run)


def run(**options: Any) -> int:
    """Write the page."""
    from squeezekit.reporting.report import write_report

    page = write_report(**options)
    say(f"{page}: {page.stat().st_size:,} bytes, open it in a browser")
    return 0
