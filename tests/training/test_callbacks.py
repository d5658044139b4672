"""What is called beside the steps: early stopping, checkpoints, bars, reports, warnings, stop requests, the rising rate."""

import csv
import json
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.training import callbacks
from squeezekit.training.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochFunction,
    EpochReport,
    LearningRateRange,
    ProgressBar,
    RateSteering,
    StagnationWarning,
    StopRequests,
    guesses,
    warmup_epochs,
)
from squeezekit.training.distributed import Processes
from squeezekit.training.interruption import Diverged
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES, Recipe
from squeezekit.training.schedule import Plateau

RUNS = Path(__file__).parents[2] / "docs" / "runs"
LN_10 = math.log(10)
# What Keras did with the same losses (record_keras.py).
KERAS = json.loads(Path(__file__).with_name("keras_callbacks.json").read_text())["records"]


def trainer(acceleration="auto", **fields):
    """Four steps an epoch."""
    digits = load_digits(image_size=16, channels=1).training
    torch.manual_seed(0)
    config = network_config("squeezenet-cifar", channels=1, image_size=16, base_e=8, incr_e=8, stem_width=8, depth=2, dropout=0)
    batches = Batches(digits, np.arange(64), batch_size=16)
    recipe = RECIPES["classic"].model_copy(update={"epochs": 3, "precision": "fp32", **fields})
    return Trainer(config.build(), recipe, batches, batches, seed=0, device=torch.device("cpu"), acceleration=acceleration)


class Record(Callback):
    """The names of all calls, and where the training stood."""

    def __init__(self, stop_after=None):
        self.calls, self._stop_after = [], stop_after

    def _add(self, name, trainer):
        self.calls.append((name, trainer.progress.epoch, trainer.progress.step))
        if self._stop_after == self.calls[-1]:
            trainer.should_stop = True

    def on_fit_start(self, trainer):
        self._add("start", trainer)

    def on_step(self, trainer, rate):
        self._add("step", trainer)

    def on_epoch_end(self, trainer):
        self._add("epoch", trainer)

    def on_stop(self, trainer):
        self._add("stop", trainer)

    def on_fit_end(self, trainer):
        self._add("end", trainer)


def test_every_call_comes_in_its_turn():
    record = Record()
    trainer(epochs=2).fit([record])
    steps = [[("step", epoch, step) for step in (1, 2, 3, 4)] + [("epoch", epoch + 1, 0)] for epoch in (0, 1)]
    assert record.calls == [("start", 0, 0), *steps[0], *steps[1], ("end", 2, 0)]


@pytest.mark.parametrize("moment", [("step", 1, 2), ("epoch", 1, 0), ("start", 0, 0)])
def test_a_stopped_training_goes_on_where_it_was(moment):
    whole, stopped, record = trainer(), trainer(), Record(stop_after=moment)
    whole.fit()
    stopped.fit([record])
    assert record.calls[-2:] == [("stop", *moment[1:]), ("end", *moment[1:])] and not stopped.finished
    stopped.fit()
    assert stopped.progress.history[-1]["training_loss"] == whole.progress.history[-1]["training_loss"]


def test_the_end_is_called_after_an_exception_too():
    record = Record()
    with pytest.raises(Diverged):
        trainer(learning_rate=1e30, optimizer="sgd").fit([record])
    assert record.calls[-1][0] == "end" and "stop" not in [name for name, _epoch, _step in record.calls]


def test_what_an_epochs_function_raises_ends_the_training():
    def fails(row):
        raise KeyError(row["epoch"])

    with pytest.raises(KeyError, match="1"):
        trainer().fit([EpochFunction(fails)])


def test_on_a_gpu_saving_takes_a_tenth_of_the_time_unless_somebody_reads_along(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def passes(seconds):
        clock[0] += seconds

    one = SimpleNamespace(processes=Processes(), progress=SimpleNamespace(epoch=1, step=0))
    on_gpu, read_along = (Checkpoint(lambda: passes(1), always=always) for always in (False, True))
    for checkpoint in (on_gpu, read_along):
        checkpoint.save(one)
    passes(7.5)
    assert (on_gpu.due, read_along.due) == (False, True)
    passes(1)
    assert on_gpu.due


def test_a_place_is_saved_once_and_what_is_finished_is_written_again():
    saved, one = [], trainer(epochs=2)
    one.fit([Checkpoint(lambda: saved.append(one.progress.epoch), always=True), Record(stop_after=("epoch", 1, 0))])
    assert saved == [1]
    one.fit([Checkpoint(lambda: saved.append(one.progress.epoch), always=True)])
    one.fit([Checkpoint(lambda: saved.append(one.progress.epoch), always=True)])
    assert saved == [1, 2, 2]


def test_a_signal_ends_the_training_after_its_step():
    class Kill(Callback):
        def on_step(self, trainer, rate):
            if trainer.progress.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    one, before = trainer(), signal.getsignal(signal.SIGINT)
    one.fit([Kill(), StopRequests()])
    assert (one.progress.epoch, one.progress.step) == (0, 2)
    assert signal.getsignal(signal.SIGINT) == before


def test_the_bar_shows_the_time_left_of_the_whole_training(monkeypatch):
    clock, notes = [100.0], []
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    class Bar:
        def __enter__(self):
            return lambda amount, note: notes.append(note)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(callbacks, "progress_bar", lambda title, total, **options: Bar())

    class Clock(Callback):
        def on_step(self, trainer, rate):
            clock[0] += 10

        def on_epoch_end(self, trainer):
            clock[0] += 20

    trainer(epochs=3).fit([Clock(), ProgressBar()])
    assert notes[0].startswith("epoch 1/3 · loss 2.") and notes[0].endswith("1:50 left")
    # The second epoch's first step: 5 of 12 steps and one validation took 70 s.
    assert notes[4].startswith("epoch 2/3") and notes[4].endswith(f"{70 / 5 * 7 // 60:.0f}:{round(70 / 5 * 7) % 60:02} left")
    assert notes[-1].endswith("0:00 left") and len(notes) == 12


def test_an_epoch_is_one_line(capsys):
    trainer(epochs=2).fit([EpochReport()])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"] and "best so far" in lines[0]


def test_rate_control_is_called_with_the_steps_done():
    steps = []
    trainer(epochs=2).fit([RateSteering(steps.append)])
    assert steps == list(range(1, 9))


def test_the_rate_rises_geometrically_and_a_loss_far_above_the_lowest_ends_it():
    one, rising = trainer(epochs=25, optimizer="sgd"), LearningRateRange(1e-3, 1e6, 100)
    try:
        one.fit([rising])
    except Diverged:
        pass
    assert rising.rates[:3] == pytest.approx([1e-3 * 1e9 ** (i / 99) for i in range(3)])
    assert len(rising.rates) == len(rising.losses) < 100


def recorded():
    """Good runs with labels: losses after each epoch and epochs of warm-up."""
    for path in sorted(RUNS.rglob("metrics.csv")):
        rows = list(csv.DictReader(path.open()))
        losses = [float(row["training_loss"]) for row in rows]
        yield pytest.param(losses, math.ceil(0.2 * len(rows)), id=path.parent.relative_to(RUNS).as_posix())


@pytest.mark.parametrize(("losses", "warmup"), list(recorded()))
def test_no_recorded_run_is_warned_of(losses, warmup):
    for epochs in range(1, len(losses) + 1):
        assert not guesses(losses[:epochs], LN_10, 0) and not guesses(losses[:epochs], LN_10, warmup)


# Losses of the networks without batch normalization that never learnt (the log: "A network that learns from some seeds only").
SILENT = [2.3027, 2.3026, 2.3029, 2.3026, 2.3016, 2.3029, 2.305, 2.3028, 2.3033]


def test_networks_that_never_learnt_are_warned_of_after_three_epochs_and_the_warmup():
    assert [guesses(SILENT[:epochs], LN_10, 0) for epochs in (1, 2, 3, 9)] == [False, False, True, True]
    assert [guesses(SILENT[:epochs], LN_10, 4) for epochs in (3, 6, 7)] == [False, False, True]
    # One that falls silent later.
    assert guesses([2.1, 1.9, 2.4, *SILENT[:3]], LN_10, 0)
    # Slowly, but it learns.
    assert not guesses([2.302, 2.299, 2.27], LN_10, 0)


def test_the_warmup_is_that_of_the_schedule():
    assert warmup_epochs(Recipe(schedule="one-cycle", warmup=0.2, epochs=15)) == 3
    assert warmup_epochs(Recipe(schedule="plateau", warmup=0.2, epochs=15)) == 0


def test_the_warning_comes_once(capsys):
    warning = StagnationWarning(10)
    one = SimpleNamespace(recipe=RECIPES["classic"], progress=SimpleNamespace(history=[]))
    for loss in SILENT:
        one.progress.history.append({"training_loss": loss})
        warning.on_epoch_end(one)
    assert capsys.readouterr().err.count("not learning") == 1


def test_the_warning_speaks_of_mirroring_where_images_are_mirrored(capsys):
    for recipe, named in (("classic", False), ("fast", True)):
        losses = [{"training_loss": loss} for loss in (LN_10,) * (warmup_epochs(RECIPES[recipe]) + 3)]
        one = SimpleNamespace(recipe=RECIPES[recipe], progress=SimpleNamespace(history=losses))
        StagnationWarning(10).on_epoch_end(one)
        assert ("--augmentation shift --no-mirrored" in capsys.readouterr().err) is named


def test_faster_layers_come_with_an_epoch_when_they_are_compiled_and_a_resumed_run_has_them(monkeypatch):
    from squeezekit.training import loop

    ready, calls = iter([False, False, True]), []
    monkeypatch.setattr(loop, "kernels_usable", lambda: True)
    monkeypatch.setattr(loop, "kernels_ready", lambda: next(ready))
    monkeypatch.setattr(loop, "compile_in_background", lambda: calls.append("compile"))
    monkeypatch.setattr(loop, "accelerate", lambda network, **options: options["kernels"] and calls.append("accelerate"))
    one = trainer("on", epochs=4)
    one.fit([Record(stop_after=("step", 2, 2))])
    assert calls == ["compile", "compile", "accelerate"] and one.progress.accelerated
    resumed = trainer("on", epochs=4)
    resumed.restore(one.state())
    resumed.fit()
    # At once, in the middle of the epoch, whatever is compiled.
    assert calls == ["compile", "compile", "accelerate", "accelerate"]


def test_an_epoch_that_began_with_plain_layers_ends_with_them(monkeypatch):
    from squeezekit.training import loop

    calls = []
    monkeypatch.setattr(loop, "kernels_usable", lambda: True)
    monkeypatch.setattr(loop, "kernels_ready", lambda: False)
    monkeypatch.setattr(loop, "accelerate", lambda network, **options: options["kernels"] and calls.append("accelerate"))
    one = trainer("on", epochs=2)
    one.fit([Record(stop_after=("step", 0, 2))])
    monkeypatch.setattr(loop, "kernels_ready", lambda: True)
    resumed, record = trainer("on", epochs=2), Record()
    resumed.restore(one.state())
    resumed.fit([EpochFunction(lambda row: calls.append(row["epoch"])), record])
    assert calls == [1, "accelerate", 2]


def test_acceleration_can_be_switched_off_and_determinism_waits_for_it(monkeypatch):
    from squeezekit.training import loop

    calls = []
    monkeypatch.setattr(loop, "kernels_usable", lambda: True)
    monkeypatch.setattr(loop, "kernels_ready", lambda: False)
    monkeypatch.setattr(loop, "accelerate", lambda network, **options: options["kernels"] and calls.append("accelerate"))
    for options, expected in (
        ({"acceleration": "off"}, []),
        ({"acceleration": "auto"}, []),
        ({"acceleration": "on", "deterministic": True}, ["accelerate"]),
    ):
        one = trainer()
        other = Trainer(one.network, one.recipe, one.training, one.validation, seed=0, device=one.device, **options)
        other.fit()
        assert calls == expected


@pytest.mark.parametrize("record", KERAS)
def test_early_stopping_and_plateau_do_what_keras_does(record):
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


def test_keras_records_show_every_behaviour():
    stopped = [record["epochs"] < len(record["losses"]) for record in KERAS]
    fell = [min(record["rates"]) < 0.9e-3 for record in KERAS]
    assert any(stopped) and not all(stopped)
    assert any(fell) and not all(fell)


def test_patience_0_never_stops():
    stopping = EarlyStopping(0)
    assert not any(stopping.step(1.0) for _ in range(100))
