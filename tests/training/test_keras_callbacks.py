"""Early stopping and plateau against what Keras did with the same losses (record_keras.py)."""

import json
import math
from pathlib import Path

import pytest

from squeezekit.training.callbacks import EarlyStopping
from squeezekit.training.schedule import Plateau

RECORDS = json.loads(Path(__file__).with_name("keras_callbacks.json").read_text())["records"]


@pytest.mark.parametrize("record", RECORDS)
def test_same_as_keras(record):
    case = record["case"]
    stopping = EarlyStopping(case["patience"])
    plateau = Plateau(1e-3, case["factor"], case["plateau_patience"], case["min_delta"], case["cooldown"], case["min_rate"])
    rates = []
    for loss in record["losses"]:
        loss = math.nan if loss is None else loss
        plateau.step(loss)
        rates.append(plateau.rate)
        if stopping.step(loss):
            break
    assert rates == pytest.approx(record["rates"], rel=1e-5)
    assert len(rates) == record["epochs"]
    assert stopping.best_epoch == record["best_epoch"]


def test_the_records_show_every_behaviour():
    stopped = [record["epochs"] < len(record["losses"]) for record in RECORDS]
    fell = [min(record["rates"]) < 0.9e-3 for record in RECORDS]
    assert any(stopped) and not all(stopped)
    assert any(fell) and not all(fell)


def test_patience_0_never_stops():
    stopping = EarlyStopping(0)
    assert not any(stopping.step(1.0) for _ in range(100))
