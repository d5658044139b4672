"""The grammar that all commands share: one meaning a flag, one layout of help, errors of one sentence."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from typing import Any, NoReturn

from squeezekit.system.shown_text import shown

WIDEST = 100
# What a value of each type is called in messages.
KINDS = {"int": "whole number", "str": "name"}
MODEL = "a run folder, a .sqz or .onnx file, or a pretrained model (squeezekit models lists them)"


class HelpLayout(argparse.RawDescriptionHelpFormatter):
    """Lines of at most WIDEST columns, however wide the terminal is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(shutil.get_terminal_size().columns - 2, WIDEST))

    def _split_lines(self, text: str, width: int) -> list[str]:
        # Flags keep their hyphens on one line.
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """One command. Flags are given whole, so that a new one never changes what an old script means.

    `everything` is for `--help-all`: help that shows every setting.
    """

    def __init__(self, *, everything: bool = False, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, add_help=False, argument_default=argparse.SUPPRESS, formatter_class=HelpLayout, **options
        )
        self.everything = everything
        self._seldom = 0

    def error(self, message: str) -> NoReturn:
        """Exit code 2."""
        # A type of Python is no word of the user's.
        message = re.sub(r"invalid (\w+) value: (.*)", lambda m: f"{m[2]} is not a {KINDS.get(m[1], 'number')}", message)
        self.exit(2, f"squeezekit: {shown(message)}; see {self.prog} --help\n")

    def explain(self, *examples: str, usage: str, notes: str = "") -> None:
        """What help begins with beside the summary, and what it ends with."""
        self.usage = f"%(prog)s {usage}"
        self.description = "\n".join([f"{self.description}\n", "examples:", *(f"  squeezekit {each}" for each in examples)])
        self.epilog = notes or None

    def seldom(self, text: str) -> str:
        """The help of a setting that only `--help-all` shows."""
        self._seldom += 1
        return text if self.everything else argparse.SUPPRESS

    def add_model(self, text: str = MODEL) -> None:
        """MODEL, which means the same in every command."""
        self.add_argument("model", metavar="MODEL", help=text)

    def add_out(self, metavar: str, text: str, *, required: bool = True) -> None:
        """What is written."""
        self.add_argument("-o", "--out", metavar=metavar, required=required, help=text)

    def add_json(self, text: str = "print the result as JSON") -> None:
        """Results for scripts, on standard output."""
        self.add_argument("--json", action="store_true", help=text)

    def add_help_and_debug(self) -> None:
        """The last flags of every command."""
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")
        self.add_argument("-h", "--help", action="help", help="show this help")
        count = self._seldom + sum(action.help != argparse.SUPPRESS for action in self._actions) + 1
        self.add_argument("--help-all", action="help", help="show every setting" if self._seldom else argparse.SUPPRESS)
        if self._seldom and not self.everything:
            more = f"{self.prog} --help-all shows all {count} settings."
            self.epilog = f"{self.epilog}\n\n{more}" if self.epilog else more
