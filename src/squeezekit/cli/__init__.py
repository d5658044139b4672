"""The command line: one module a command; errors become exit codes here and nowhere else."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from squeezekit.system.errors import SqueezekitError


class Parser(argparse.ArgumentParser):
    """Errors are one sentence; flags are given whole, so that a new one never changes what an old script means."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Exit code 2."""
        self.exit(2, f"squeezekit: {message}; see {self.prog} --help\n")


COMMANDS = {
    "train": "train a network on images and test it",
    "lr-range": "find a learning rate in an epoch",
    "search": "try networks and recipes of a space, and recommend one",
    "crossval": "how good a network and recipe are, and how sure that is",
    "report": "a page to read about runs, searches and cross-validations",
    "compress": "make a trained network as small as its promise allows",
    "export": "a trained network for other programs and chips: ONNX, C",
    "evaluate": "measure a trained network, class by class",
    "predict": "classify pictures",
    "serve": "answer over HTTP",
    "publish": "put a new version of a model where devices fetch it, signed",
    "update": "fetch the newest version of a model, verify it, install it",
    "keys": "make, rotate and show the keys that sign updates",
    "models": "the trained networks in the box",
    "inspect": "what is in a .sqz file, layer by layer, and where its bytes go",
    "describe": "the layer table of a network: shapes, parameters, multiply-adds, memory",
    "tensorboard": "watch the curves of a run",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = Parser(
        prog="squeezekit",
        description="Train, search, squeeze and ship image classifiers under half a megabyte.",
        epilog="example: squeezekit train --data digits --out runs/digits",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        # Only the command that is called is imported: torch takes seconds.
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            argument_default=argparse.SUPPRESS,
        )
        if name in given[:1]:
            importlib.import_module(f"squeezekit.cli.{name.replace('-', '_')}").add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    settings = vars(parser.parse_args(given))
    run, debug = settings.pop("run"), settings.pop("debug", False)
    settings.pop("command")
    try:
        return int(run(**settings))
    except SqueezekitError as error:
        if debug:
            raise
        print(f"squeezekit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("squeezekit: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"squeezekit: {place}{error.strerror or error}; check path, permissions and free space", file=sys.stderr)
        return 1
