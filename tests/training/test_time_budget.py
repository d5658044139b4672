"""Epochs that fit into a time."""

import time

import pytest

from squeezekit import SqueezekitError, train
from squeezekit.training import time_budget
from tests.fixtures.tiny import TINY


def test_as_many_epochs_as_fit_are_trained_and_kept_when_resuming(tmp_path, capfd):
    begin = time.monotonic()
    run = train("digits", out=tmp_path / "run", recipe="fast", minutes=0.05, test=False, **TINY)
    assert time.monotonic() - begin < 60
    epochs = run.config.recipe.epochs
    assert run.summary["epochs"] == epochs >= 1
    said = capfd.readouterr().err
    # The trainer that was timed says nothing of its own.
    assert f"epochs: {epochs}, as many as fit into 0.05 minutes" in said and said.count("batch size 31 instead of 500") == 1
    assert train("digits", out=run.folder, resume=True, minutes=7).summary == run.summary


def test_epochs_are_what_the_clock_of_some_steps_says(tmp_path, monkeypatch):
    monkeypatch.setattr(time_budget, "_seconds_of_a_step", lambda trainer, most, steps: 2.0)
    # 360 images train in batches of 45, and 40 validate: 16 seconds, and a 27th of these.
    for minutes, epochs in ((2, 6), (0.01, 1)):
        run = train("digits", out=tmp_path / str(minutes), recipe="fast", minutes=minutes, batch_size=45, limit=400, **CUT)
        assert run.config.recipe.epochs == epochs


def test_a_time_and_epochs_are_too_much(tmp_path):
    for fields, message in (({"minutes": 1, "epochs": 3}, "leave out --epochs, or --minutes"), ({"minutes": 0}, "more than 0")):
        with pytest.raises(SqueezekitError, match=message):
            train("digits", out=tmp_path / "run", **TINY, **fields)
    assert not (tmp_path / "run").exists()


CUT = {name: value for name, value in TINY.items() if name != "limit"} | {"test": False}
