"""How many epochs there is time for."""

import pytest

from squeezekit.compression.time_limit import DEFAULT_MINUTES, PTQ_SHARE, USED, TimeLimit


def never():
    raise AssertionError("nothing had to be timed")


@pytest.mark.parametrize(
    ("elapsed", "epochs"), [(0, 4), (600 * USED - 20 * 4, 4), (600 * USED - 70, 3), (600 * USED - 25, 1), (590, 0), (700, 0)]
)
def test_a_round_has_the_epochs_that_end_in_time(elapsed, epochs):
    assert TimeLimit(10, 4, timed=lambda: 20.0).fitting_epochs(elapsed) == epochs


def test_rounds_of_a_few_epochs_of_many_are_not_worth_their_time():
    limit = TimeLimit(1, 100, timed=lambda: 1.0)
    assert limit.fitting_epochs(60 * USED - 16) == 16
    assert limit.fitting_epochs(60 * USED - 14) == 0


def test_by_default_as_long_as_the_epochs_ask(capsys):
    quick, slow = TimeLimit(None, 4, timed=lambda: 1.0), TimeLimit(None, 4, timed=lambda: 30.0)
    assert quick.fitting_epochs(12) == slow.fitting_epochs(12) == 4
    assert quick.minutes == DEFAULT_MINUTES and slow.minutes == 3 * DEFAULT_MINUTES
    assert "an epoch takes about 0:30: done after 15:00 (--minutes)" in capsys.readouterr().err
    assert slow.fitting_epochs(60 * 14) == 0 and slow.over(60 * 16) and not slow.over(60 * 14)
    assert quick.left(12) == ", 4:48 left" and quick.left(9999) == ", 0:00 left"


def test_given_epochs_are_trained_however_long_they_take():
    limit = TimeLimit(None, 7, timed=never, limited=False)
    assert limit.fitting_epochs(1e6) == 7 and not limit.over(1e6) and limit.left(5) == ""


def test_a_round_tells_how_long_its_epochs_took():
    limit = TimeLimit(10, 4, timed=never)
    limit.took(400, 4)
    assert limit.fitting_epochs(0) == 4 and limit.fitting_epochs(600 * USED - 250) == 2
    # One that was resumed at its end tells nothing.
    limit.took(3, 0)
    assert limit.fitting_epochs(600 * USED - 250) == 2


def test_rounding_leaves_time_for_training():
    limit = TimeLimit(10, 4, timed=never)
    assert limit.ptq_is_over(600 * PTQ_SHARE + 1) and not limit.ptq_is_over(600 * PTQ_SHARE - 1)
    # Where nothing is trained, it takes the time that it needs.
    assert not TimeLimit(0, 4, timed=never).ptq_is_over(1e6) and not TimeLimit(None, 4, timed=never).ptq_is_over(1e6)
