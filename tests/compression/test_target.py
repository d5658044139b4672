"""Which file is best, and what is tried next."""

import pytest

from squeezekit.compression.target import Target
from squeezekit.modelfile.sqz import Stage


def stage(bytes, accuracy, density=1):
    return Stage(name="x", bytes=bytes, density=density, bits=1, accuracy=accuracy)


def test_the_smallest_file_that_is_accurate_enough():
    target = Target(0.9, max_drop=0.5, max_bytes=None)
    stages = [stage(1000, 0.9), stage(500, 0.8951), stage(400, 0.8949), stage(600, 0.91)]
    assert target.best(stages) == 1
    assert [target.met(s) for s in stages] == [True, True, False, True]
    assert target.best([stage(10, 0.5), stage(20, 0.6)]) == 1


def test_the_most_accurate_file_that_is_small_enough():
    target = Target(0.9, max_drop=None, max_bytes=500)
    stages = [stage(1000, 0.95), stage(500, 0.8), stage(400, 0.85)]
    assert target.best(stages) == 2
    assert target.best(stages[:1]) == 0
    # What is nearest to the size and of no use is behind what is of use.
    assert target.best([stage(900, 0.85), stage(600, 0.5)]) == 0
    assert Target(0.9, max_drop=0.5, max_bytes=400).best([stage(900, 0.85), stage(600, 0.5), stage(700, 0.84)]) == 2
    assert Target(0.9, max_drop=50, max_bytes=600).best([stage(900, 0.85), stage(600, 0.5)]) == 1
    # Of few images losses say more.
    assert target.best(stages, losses=[0.1, 0.2, 0.3]) == 1
    both = Target(0.9, max_drop=1, max_bytes=500)
    assert not both.met(stages[2]) and both.met(stage(450, 0.895))


def test_a_file_is_of_use_that_is_small_enough_and_no_ruin():
    stages = [stage(400, 0.89), stage(400, 0.79), stage(600, 0.9)]
    assert [Target(0.9, max_drop=1, max_bytes=500).answered(each) for each in stages] == [True, False, False]
    assert [Target(0.9, max_drop=1, max_bytes=None).answered(each) for each in stages] == [True, False, True]
    assert Target(0.9, max_drop=15, max_bytes=500).answered(stages[1])


def test_the_rate_weight_doubles_until_too_far_then_halves_the_way():
    target = Target(0.9, max_drop=0.5, max_bytes=None)

    def following(*rounds):
        return target.next_rate_weight(rounds, first=0.3, growth=2.0)

    assert following() == (0.3, None)
    good, bad = stage(100, 0.9), stage(50, 0.8)
    assert following((1.0, good)) == (2.0, 0)
    assert following((1.0, good), (2.0, bad)) == (pytest.approx(2**0.5), 0)
    assert following((1.0, good), (2.0, bad), (1.4, good)) is None
    rate_weight, start = following((1.0, bad))
    assert (rate_weight, start) == (0.5, None)
    # Where rounding alone reaches a rate weight, no training is spent at it.
    assert target.next_rate_weight([(1.0, bad)], 1.0, 2.0, reached=0.8) == (pytest.approx(0.8**0.5), None)
    # A network that guesses as well without any weight is compressed no further.
    assert following((1.0, good), (2.0, stage(50, 0.9, density=0))) == (pytest.approx(2**0.5), 0)
