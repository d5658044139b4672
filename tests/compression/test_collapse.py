"""A round that destroys what it was given."""

from types import SimpleNamespace

import pytest

from squeezekit.compression.collapse import Collapse


@pytest.mark.parametrize(
    ("began", "accuracies", "ended"),
    [
        (0.88, [0.6, 0.25, 0.17], True),
        # One bad epoch may be regained, also the first one.
        (0.88, [0.2, 0.6, 0.2, 0.9], False),
        (0.88, [0.4, 0.4, 0.4, 0.4], False),
        # Where hardly anything was known, nothing can be destroyed.
        (0.15, [0.1, 0.08, 0.09, 0.3], False),
        # Nothing comes after the last epoch.
        (0.88, [0.6, 0.6, 0.6, 0.1], True),
    ],
)
def test_two_epochs_with_a_quarter_of_what_was_known(began, accuracies, ended):
    collapse = Collapse(began, 0.1)
    trainer = SimpleNamespace(should_stop=False, finished=False, progress=SimpleNamespace(history=[]))
    for epoch, accuracy in enumerate(accuracies, 1):
        assert not trainer.should_stop
        trainer.progress.history.append({"validation_accuracy": accuracy})
        trainer.finished = epoch == 4
        collapse.on_epoch_end(trainer)
    assert trainer.should_stop == collapse.happened == ended


def test_a_round_that_was_stopped_after_its_collapse_is_still_one():
    collapse = Collapse(0.88, 0.1)
    history = [{"validation_accuracy": accuracy} for accuracy in (0.6, 0.1)]
    trainer = SimpleNamespace(should_stop=False, finished=True, progress=SimpleNamespace(history=history))
    collapse.on_fit_start(trainer)
    assert collapse.happened and trainer.should_stop
    fresh = Collapse(0.88, 0.1)
    fresh.on_fit_start(SimpleNamespace(should_stop=False, finished=False, progress=SimpleNamespace(history=[])))
    assert not fresh.happened
