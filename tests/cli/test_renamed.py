"""A name of version 0.1 ends with one sentence that has the name of today."""

import pytest

from squeezekit.cli import COMMANDS, main, renamed
from squeezekit.cli.signing import ROLES
from squeezekit.networks.registry import NETWORKS
from squeezekit.networks.stored_names import NETWORKS_OF_0_1, RECIPES_OF_0_1
from squeezekit.training.recipe import RECIPES

OLD_FLAGS = [(command, old, new) for command, flags in renamed.FLAGS.items() for old, new in flags.items()]


def refused(capsys, *arguments):
    """The sentence on standard error."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert not printed.out
    (line,) = printed.err.strip().splitlines()
    return line


@pytest.mark.parametrize(("old", "new"), renamed.COMMANDS.items())
def test_commands(old, new, capsys):
    assert new in COMMANDS and old not in COMMANDS
    assert f"{old} is now {new}" in refused(capsys, old, "--data", "digits")


@pytest.mark.parametrize(("command", "old", "new"), OLD_FLAGS)
def test_flags(command, old, new, capsys):
    for given in ([old, "x"], [f"{old}=x"]):
        assert refused(capsys, command, *given) == f"squeezekit: {old} is now {new}; see squeezekit {command} --help"
    with pytest.raises(SystemExit):
        main([command, "--help-all"])
    shown = capsys.readouterr().out
    assert f"{new} " in shown or "train --init-from" in new
    assert f"{old} " not in shown


@pytest.mark.parametrize(("old", "new"), NETWORKS_OF_0_1.items())
def test_networks(old, new, capsys):
    assert new in NETWORKS and old not in NETWORKS
    for arguments in (
        ["train", "--data", "digits", "--network", old],
        ["search", "--data", "digits", f"--network={old}"],
        ["describe", old],
        ["describe", "alexnet", "--compare", old],
    ):
        assert refused(capsys, *arguments) == f"squeezekit: network '{old}' is now '{new}'"


@pytest.mark.parametrize(("old", "new"), RECIPES_OF_0_1.items())
def test_recipes(old, new, capsys):
    assert new in RECIPES and old not in RECIPES
    assert refused(capsys, "train", "--recipe", old) == f"squeezekit: recipe '{old}' is now '{new}'"


@pytest.mark.parametrize(("old", "new"), renamed.SPACES.items())
def test_spaces(old, new, capsys):
    assert refused(capsys, "search", "--space", old) == f"squeezekit: search space '{old}' is now '{new}'"


@pytest.mark.parametrize("action", ["create", "renew", "show", "rotate"])
def test_the_repository_of_keys_is_a_flag(action, capsys):
    assert f"the repository of keys {action} is now --repo public" in refused(capsys, "keys", action, "public", ROLES[0])


def test_names_of_today_pass():
    for arguments in (["keys", "rotate", "root", "--repo", "public"], ["report", "late", "-o", "report"], ["train"], []):
        renamed.check(arguments)
