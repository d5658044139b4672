"""Names of version 0.1: whoever uses one gets the name of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from squeezekit.cli.signing import ROLES
from squeezekit.system.errors import SqueezekitError

COMMANDS = {"crossval": "cross-validate"}

# Of every command that trains.
_SETTINGS = {"--normalisation": "--normalization"}
_TRAINS = {**_SETTINGS, "--weights": "train --init-from (this command starts from random weights)"}
# Flags by the command of today.
FLAGS: Mapping[str, Mapping[str, str]] = {
    "train": {**_SETTINGS, "--weights": "--init-from", "--from": "--init-from"},
    "search": _TRAINS,
    "cross-validate": _TRAINS,
    "lr-range": {**_TRAINS, "--from": "--min-rate", "--to": "--max-rate", "--plot": "--out"},
    "compress": {"--pressure": "--rate-weight", "--near": "--delta-from"},
    "export": {"--to": "--format", "--weights": "--store-weights"},
    "serve": {"--update-from": "--repo"},
    "publish": {"--to": "--repo"},
    "update": {"--from": "--repo", "--to": "--out"},
}
# Values of flags that keep their name; networks and recipes are in networks/stored_names.py.
SPACES = {"report": "classic", "regularisation": "regularization"}
NETWORK_FLAGS, RECIPE_FLAGS, SPACE_FLAGS = ("--network", "--compare"), ("--recipe",), ("--space",)


def check(given: Sequence[str]) -> None:
    """Raises SqueezekitError for a name of version 0.1 on a command line, with the name of today."""
    if not given:
        return
    command, rest = given[0], given[1:]
    if command in COMMANDS:
        raise SqueezekitError(f"{command} is now {COMMANDS[command]}; see squeezekit {COMMANDS[command]} --help")
    for flag in (part.partition("=")[0] for part in rest):
        if new := FLAGS.get(command, {}).get(flag):
            raise SqueezekitError(f"{flag} is now {new}; see squeezekit {command} --help")
    if command == "keys":
        _check_keys(rest)
    for flag, value in _values(rest):
        _check_value(flag, value)
    if command == "describe" and rest and not Path(rest[0]).exists():
        _check_value("--network", rest[0])


def _check_keys(rest: Sequence[str]) -> None:
    """The repository was the first argument of every action."""
    if len(rest) > 1 and not any(part.startswith("-") for part in rest[:2]) and rest[1] not in ROLES:
        raise SqueezekitError(f"the repository of keys {rest[0]} is now --repo {rest[1]}; see squeezekit keys {rest[0]} --help")


def _values(rest: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Flags with their values: `--flag value` and `--flag=value`."""
    for part, following in pairwise([*rest, ""]):
        flag, equals, value = part.partition("=")
        yield flag, value if equals else following


def _check_value(flag: str, value: str) -> None:
    if flag in SPACE_FLAGS and value in SPACES:
        raise SqueezekitError(f"search space '{value}' is now '{SPACES[value]}'")
    if flag not in NETWORK_FLAGS + RECIPE_FLAGS:
        return
    from squeezekit.networks.stored_names import NETWORKS_OF_0_1, RECIPES_OF_0_1

    if flag in NETWORK_FLAGS and value in NETWORKS_OF_0_1:
        raise SqueezekitError(f"network '{value}' is now '{NETWORKS_OF_0_1[value]}'")
    if flag in RECIPE_FLAGS and value in RECIPES_OF_0_1:
        raise SqueezekitError(f"recipe '{value}' is now '{RECIPES_OF_0_1[value]}'")
