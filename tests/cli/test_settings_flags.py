"""Settings become flags: what `--help` and `--help-all` show of them."""

import re

import pytest

from squeezekit.cli import main
from squeezekit.cli.settings_flags import MATTERS
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.training.recipe import RECIPES, Recipe
from squeezekit.training.settings import RunSettings

MODELS = (RunSettings, SqueezeNetConfig, Recipe)


def shown(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    return capsys.readouterr().out


def flags(text):
    return set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[\w-]+)", text, re.MULTILINE))


def hidden(field):
    return bool((field.json_schema_extra or {}).get("hidden"))


def test_help_shows_what_matters_and_help_all_the_rest(capsys):
    some, everything = (shown(capsys, "train", flag) for flag in ("--help", "--help-all"))
    fields = {name: field for model in MODELS for name, field in model.model_fields.items()}
    assert set(fields) >= MATTERS
    assert {f"--{name.replace('_', '-')}" for name in MATTERS} <= flags(some) < flags(everything)
    assert len(flags(some)) < 35
    left_out = {"name", "weights", "test"}
    expected = {name for name, field in fields.items() if name not in left_out and not hidden(field)}
    assert {f"--{name.replace('_', '-')}" for name in expected} <= flags(everything)
    assert not {f"--{name.replace('_', '-')}" for name, field in fields.items() if hidden(field)} & flags(everything)
    (count,) = re.findall(r"squeezekit train --help-all shows all (\d+) settings", some)
    assert int(count) == len(flags(everything))


def test_choices_and_the_defaults_of_each_recipe_are_shown(capsys):
    text = " ".join(shown(capsys, "train", "--help").split())
    for choice in ("adam,adamw,sgd,muon", "none,simple,complex"):
        assert f"{{{choice}}}" in text
    for name, recipe in RECIPES.items():
        assert f"{name} {recipe.epochs}" in text and f"{name} {recipe.batch_size}" in text
