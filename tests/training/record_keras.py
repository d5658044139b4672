"""Records what Keras's callbacks do with sequences of validation losses, as keras_callbacks.json beside this file.

Run with an interpreter that has keras and a backend: python record_keras.py
"""

import json
from pathlib import Path

import keras
import numpy as np

CASES = [
    {"patience": 10, "plateau_patience": 5, "factor": 0.5, "min_delta": 1e-4, "cooldown": 0, "min_rate": 0.0},
    {"patience": 3, "plateau_patience": 2, "factor": 0.1, "min_delta": 1e-2, "cooldown": 2, "min_rate": 1e-5},
    {"patience": 6, "plateau_patience": 1, "factor": 0.5, "min_delta": 0.0, "cooldown": 1, "min_rate": 2e-4},
    {"patience": 25, "plateau_patience": 3, "factor": 0.7, "min_delta": 1e-3, "cooldown": 4, "min_rate": 0.0},
]


def sequences():
    random = np.random.default_rng(0)
    falling = 2.3 * np.exp(-np.arange(40) / 8)
    yield falling + 0.05 * np.arange(40) ** 1.2 / 10
    yield falling + random.normal(0, 0.05, 40)
    yield np.repeat(falling[::4], 4) + random.choice([0, 5e-5, 2e-4, 5e-3], 40)
    yield np.full(40, 2.302585)
    yield np.concatenate([[2.1, np.nan, 2.0, np.nan, 1.9], np.full(35, 1.95)])


def replay(losses, case):
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    stop = keras.callbacks.EarlyStopping(patience=case["patience"], restore_best_weights=True)
    plateau = keras.callbacks.ReduceLROnPlateau(
        factor=case["factor"],
        patience=case["plateau_patience"],
        min_delta=case["min_delta"],
        cooldown=case["cooldown"],
        min_lr=case["min_rate"],
    )
    rates = []
    for callback in (stop, plateau):
        callback.set_model(model)
        callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        plateau.on_epoch_end(epoch, {"val_loss": loss})
        rates.append(float(np.asarray(model.optimizer.learning_rate)))
        stop.on_epoch_end(epoch, {"val_loss": loss})
        if model.stop_training:
            break
    return {"rates": rates, "epochs": len(rates), "best_epoch": stop.best_epoch + 1}


if __name__ == "__main__":
    records = []
    for losses in sequences():
        for case in CASES:
            shown = [None if np.isnan(x) else float(x) for x in losses]
            records.append({"case": case, "losses": shown, **replay(losses, case)})
    content = {"keras": keras.__version__, "records": records}
    Path(__file__).with_name("keras_callbacks.json").write_text(json.dumps(content, indent=1) + "\n")
