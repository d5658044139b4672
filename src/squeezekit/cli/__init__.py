"""The command line: one module a command; errors become exit codes here and nowhere else."""

from __future__ import annotations

import argparse
import difflib
import importlib
import keyword
import logging
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from squeezekit.cli import renamed
from squeezekit.cli.parser import Parser
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.shown_text import shown_lines
from squeezekit.system.standard_streams import drop_unwritable_output, prepare_standard_streams
from squeezekit.system.version import version

GROUPS = {
    "train": {
        "make": "from a folder of photos to a classifier and a report on it",
        "check": "look for copies, doubtful labels, broken pictures in a folder",
        "train": "train a network on images and test it",
        "search": "try networks and recipes, and recommend one",
        "cross-validate": "measure accuracy over folds, with a confidence interval",
        "lr-range": "find a learning rate in one epoch",
        "tensorboard": "watch the curves of a run",
        "doctor": "say what this installation has, and what is wrong with it",
    },
    "choose": {
        "models": "list the pretrained models",
        "describe": "show the layers of a network: shapes, parameters, memory",
        "evaluate": "measure a trained network, class by class",
        "predict": "classify pictures",
        "report": "write an HTML report of runs and studies",
    },
    "shrink": {
        "compress": "compress a trained network to a target of accuracy or size",
        "inspect": "show what a .sqz file holds and where its bytes go",
        "import": "convert a network that others have stored to a .sqz file",
    },
    "ship": {
        "export": "write a trained network for other programs, chips and browsers",
        "serve": "answer over HTTP",
    },
    "update": {
        "keys": "create, rotate, renew and show the keys that sign updates",
        "publish": "add a signed version of a model to an update repository",
        "update": "fetch, verify and install the newest version of a model",
    },
}
SHELLS = ("bash", "zsh", "fish")
COMMANDS = {name: summary for commands in GROUPS.values() for name, summary in commands.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    prepare_standard_streams()
    # Where there is no home, it says at length that its cache is elsewhere.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        return _run(given)
    except SqueezekitError as error:
        if debug:
            raise
        print(shown_lines(f"squeezekit: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("squeezekit: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        drop_unwritable_output()
        return 1
    except OSError as error:
        drop_unwritable_output()
        if debug:
            raise
        # A file is written aside first, under a name that tells nobody anything.
        place = re.sub(r"\.([^/]+)\.\d+\.partial\b", r"\1", f"{error.filename}: ") if error.filename else ""
        message = f"squeezekit: {place}{error.strerror or error}; check path, permissions and free space"
        print(shown_lines(message), file=sys.stderr)
        return 1


def _run(given: Sequence[str]) -> int:
    """A command, until all that it prints is written."""
    known = argparse.Namespace()
    try:
        renamed.check(given)
        known, unknown = _parser(given).parse_known_args(given)
        if unknown:
            _refuse(known.command, unknown)
        settings = dict(vars(known))
        run = settings.pop("run")
        for name in ("command", "debug"):
            settings.pop(name, None)
        return int(run(**settings))
    except OSError as error:
        # A disk that is full while a file is written does not say which.
        if error.filename is None and getattr(known, "out", None):
            error.filename = str(known.out)
        raise
    finally:
        sys.stdout.flush()


def _refuse(command: str, unknown: Sequence[str]) -> NoReturn:
    """Exit with what a command does not know, and with the flag that was meant, if one is spelled much like it."""
    from squeezekit.cli.completion import all_actions

    parser = _whole_parser(command)
    flags = [flag for action in all_actions(parser) for flag in action.option_strings]
    close = [found for each in unknown for found in difflib.get_close_matches(each.partition("=")[0], flags, 1)]
    hint = f" (did you mean {close[0]}?)" if close else ""
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def _parser(given: Sequence[str]) -> Parser:
    """The parser of all commands, with the flags of the one that is given."""
    parser = Parser(
        prog="squeezekit",
        description="Train, search, squeeze and ship image classifiers under half a megabyte.",
    )
    examples = ("train --data digits -o runs/digits", "predict digits-nano examples/three.png")
    parser.explain(*examples, usage="COMMAND …", notes="squeezekit COMMAND --help shows examples and settings of a command.")
    parser.description = f"{parser.description}\n\n{_overview()}"
    parser.add_argument("--version", action="version", version=f"squeezekit {version()}", help="show the version")
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=SHELLS,
        metavar="SHELL",
        help=f"for your shell: {', '.join(SHELLS)}",
    )
    parser.add_argument("-h", "--help", action="help", help="show this help")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, prog="squeezekit", help=argparse.SUPPRESS)
    if not given:
        parser.print_help(sys.stderr)
        parser.exit(2)
    called = given[0]
    if called and not called.startswith("-") and called not in COMMANDS:
        close = difflib.get_close_matches(called, COMMANDS, 1)
        parser.error(f"'{called}' is not a command" + (f" (did you mean {close[0]}?)" if close else ""))
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, description=f"{summary[0].upper()}{summary[1:]}.", everything="--help-all" in given)
        if name == called:
            # Only the command that is called is imported: torch takes seconds.
            _add_flags(command, name)
    return parser


def _add_flags(command: Parser, name: str) -> None:
    importlib.import_module(f"squeezekit.cli.{module_of(name)}").add_arguments(command)
    command.add_help_and_debug()


def _whole_parser(name: str) -> Parser:
    """The parser of one command, with every setting."""
    command = Parser(prog=f"squeezekit {name}", everything=True)
    _add_flags(command, name)
    return command


class _PrintCompletion(argparse.Action):
    """`--print-completion SHELL`: prints and ends, as `--version` does."""

    def __call__(self, parser: argparse.ArgumentParser, _space: object, shell: object, _flag: str | None = None) -> None:
        from squeezekit.cli.completion import script
        from squeezekit.system.standard_output import show

        for line in script(str(shell), COMMANDS, _whole_parser).splitlines():
            show(line)
        parser.exit()


def module_of(name: str) -> str:
    """The module of a command."""
    module = name.replace("-", "_")
    # `import` is a word of Python.
    return f"{module}_" if keyword.iskeyword(module) else module


def _overview() -> str:
    """The commands, by what they are for."""
    width = max(map(len, COMMANDS))
    groups = (
        "\n".join([f"{group}:", *(f"  {name:<{width}}  {summary}" for name, summary in commands.items())])
        for group, commands in GROUPS.items()
    )
    return "\n\n".join(groups)
