"""Groupings joined, and whole groups divided."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezekit.data.groups import divided, joined, numbered


def test_equal_names_have_one_number_and_none_stands_alone():
    assert numbered(["a", None, "b", "a", None]).tolist() == [0, 1, 2, 0, 4]


def test_what_belongs_together_through_others_is_joined():
    assert joined([0, 0, 2, 3, 4, 5]).tolist() == [0, 0, 2, 3, 4, 5]
    assert joined([0, 0, 2, 3, 4, 5], [7, 8, 8, 9, 9, 1]).tolist() == [0, 0, 0, 3, 3, 5]
    chain = np.arange(100)
    assert joined(chain // 2, (chain + 1) // 2).tolist() == [0] * 100


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40), st.integers(2, 6), st.integers(1, 5))
def test_groups_stay_whole_and_folds_are_even(seed, folds, largest):
    random = np.random.default_rng(seed % 1000)
    groups = np.repeat(np.arange(300), random.integers(1, largest + 1, 300))
    labels = np.repeat(random.integers(0, 3, 300), np.bincount(groups))
    part = divided(labels, groups, [1 / folds] * folds, seed)
    assert all(len(np.unique(part[groups == group])) == 1 for group in range(300))
    for label in range(3):
        counts = np.bincount(part[labels == label], minlength=folds)
        assert counts.max() - counts.min() <= 2 * largest
    assert (divided(labels, groups, [1 / folds] * folds, seed) == part).all()


def test_shares_are_kept_and_groups_of_all_sizes_are_on_both_sides():
    groups = np.repeat(np.arange(300), np.arange(300) % 3 + 1)
    labels = np.zeros(len(groups), np.int64)
    part = divided(labels, groups, [0.9, 0.1], 0)
    assert abs((part == 1).mean() - 0.1) < 0.01
    sizes = np.bincount(groups[part == 1], minlength=300)
    assert set(sizes) == {0, 1, 2, 3}


def test_a_group_that_spans_classes_counts_for_each():
    groups = np.repeat(np.arange(20), 10)
    labels = np.tile(np.repeat([0, 1], 5), 20)
    part = divided(labels, groups, [0.8, 0.2], 1)
    assert np.bincount(labels[part == 1]).tolist() == [20, 20]
