"""The trainer: schedules, best weights, class weights, label smoothing, device and precision."""

import math

import numpy as np
import pytest
import torch

from squeezekit import train
from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.training.callbacks import Callback
from squeezekit.training.loop import Trainer
from squeezekit.training.measurement import Measurement
from squeezekit.training.recipe import RECIPES
from squeezekit.training.schedule import rate_at
from tests.fixtures.tiny import SMALL, TINY


def trainer(recipe="classic", images=64, **fields):
    digits = load_digits(image_size=16, channels=1).training
    torch.manual_seed(0)
    network = network_config("squeezenet-cifar", channels=1, dropout=0, **SMALL).build()
    batches = Batches(digits, np.arange(images), batch_size=16)
    options = {name: fields.pop(name, None) for name in ("class_weights", "teacher")}
    settings = RECIPES[recipe].model_copy(update=fields)
    return Trainer(network, settings, batches, batches, seed=0, device=torch.device("cpu"), **options)


class StopAt(Callback):
    """Stops after a step of the first epoch."""

    def __init__(self, step):
        self.step = step

    def on_step(self, trainer, rate):
        trainer.should_stop = trainer.progress.step == self.step


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [1, 1, 1, 1]),
        ("cosine", [1, (1 + math.sqrt(0.5)) / 2, 0.5, 0]),
        ("one-cycle", [0, 1, 0.5 / 0.75, 0]),
    ],
)
def test_rates(schedule, rates):
    recipe = RECIPES["modern"].model_copy(update={"schedule": schedule, "learning_rate": 1.0, "warmup": 0.25})
    assert [rate_at(recipe, progress) for progress in (0, 0.25, 0.5, 1)] == pytest.approx(rates, abs=1e-9)


def test_the_rate_halves_when_validation_stagnates(monkeypatch):
    one = trainer(epochs=9)
    monkeypatch.setattr(one, "measure", lambda: Measurement(1.0, 0.5, 0.5, 0.01, 100))
    one.fit()
    # The first epoch is the best; five without a lower loss follow.
    assert [row["learning_rate"] for row in one.progress.history] == [0.001] * 6 + [0.0005] * 3
    assert one.optimizer.param_groups[0]["lr"] == 0.0005


def test_the_weights_of_the_lowest_validation_loss_are_kept_and_patience_ends(monkeypatch):
    one = trainer(epochs=20, patience=3)
    losses, weights = iter([3.0, 1.0, 2.0, 2.0, 2.0]), []

    def measure():
        weights.append(one.network.state_dict()["features.0.weight"].clone())
        return Measurement(next(losses), 0.5, 0.5, 0.01, 100)

    monkeypatch.setattr(one, "measure", measure)
    one.fit()
    assert len(one.progress.history) == 5
    assert torch.equal(one.best["features.0.weight"], weights[1])
    assert not torch.equal(weights[1], weights[4])


def test_class_weights_and_label_smoothing_reach_the_loss():
    digits = load_digits(image_size=16, channels=1).training
    weights = torch.linspace(0.1, 2, 10)
    one = trainer(images=16, epochs=1, label_smoothing=0.2, class_weights=weights)
    pixels, labels = next(one.training.shuffled(0))
    logits = one.network.train()(pixels)
    smooth = torch.nn.functional.one_hot(labels, 10) * 0.8 + 0.02
    expected = -(weights * smooth * logits.log_softmax(1)).sum() / weights[labels].sum()
    one.fit()
    assert one.progress.history[0]["training_loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert len(digits.classes) == 10


def test_a_teacher_is_learnt_from_whatever_the_labels_say():
    teacher = trainer().network.eval()
    with torch.no_grad():
        # Sure of its answers, and wrong.
        teacher.classifier[1].bias.copy_(torch.tensor([8.0, *[0.0] * 9]))
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    one = trainer(epochs=12, learning_rate=0.01, teacher=teacher)
    one.fit()
    answers = torch.cat([one.network.eval()(images).detach() for images, _ in one.training.in_order()])
    assert (answers.argmax(1) == 0).all()
    # The cross-entropy with the teacher's own answers is the least there can be.
    taught = torch.cat([teacher(images).detach() for images, _ in one.training.in_order()]).softmax(1)
    least = -(taught * taught.log()).sum(1).mean()
    assert least - 1e-3 < one.progress.history[-1]["training_loss"] < least + 0.05
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


def test_balanced_class_weights_are_inverse_to_frequency(tmp_path, monkeypatch):
    seen = []
    import squeezekit.training.start as module

    class Spy(Trainer):
        def __init__(self, *arguments, **options):
            seen.append(options["class_weights"])
            super().__init__(*arguments, **options)

    monkeypatch.setattr(module, "Trainer", Spy)
    run = train("digits", out=tmp_path / "x", epochs=1, class_weights="balanced", test=False, **TINY)
    labels = load_digits(image_size=16, channels=1).training.labels[run.split.training]
    counts = np.bincount(labels, minlength=10)
    assert seen[0].tolist() == pytest.approx((len(labels) / (10 * counts)).tolist(), rel=1e-5)


def test_bf16_trains(tmp_path):
    run = train("digits", out=tmp_path / "x", epochs=1, precision="bf16", test=False, **TINY)
    assert run.config.recipe.precision == "bf16"
    assert {tensor.dtype for tensor in run.network().parameters()} == {torch.float32}
    assert math.isfinite(run.summary["validation"]["loss"])


def test_deterministic_is_switched_on_while_training(tmp_path, monkeypatch):
    seen = set()
    step = Trainer.step

    def watched(self, *arguments):
        seen.add(torch.are_deterministic_algorithms_enabled())
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", watched)
    for number, deterministic in enumerate((True, False)):
        train("digits", out=tmp_path / str(number), epochs=1, deterministic=deterministic, test=False, **TINY)
        assert seen == {deterministic}
        seen.clear()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_stop_request_is_heard_at_once_where_losses_are_looked_at_rarely():
    one = trainer(epochs=2)
    one.look_every = 50
    one.fit([StopAt(2)])
    assert not one.finished
    assert (one.progress.epoch, one.progress.step, one.progress.images) == (0, 2, 32)
