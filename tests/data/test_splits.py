"""Who trains, who validates, who is tested."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from squeezekit.data.image_set import ImageSet
from squeezekit.data.splits import _generator, chosen_for_test, split_images, split_training
from squeezekit.system.errors import SqueezekitError

NAMES = tuple("abcdefgh")


def labels_of(counts, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def content(*values):
    return [hashlib.sha256(str(value).encode()).digest() for value in values]


def test_ten_percent_of_cifar10():
    split = split_training(np.repeat(np.arange(10), 5000), classes=tuple("abcdefghij"), seed=0)
    assert (len(split.training), len(split.validation)) == (45_000, 5_000)
    assert (np.bincount(split.validation // 5000) == 500).all()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(10, 80), min_size=2, max_size=8), st.integers(0, 2**40), st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_a_split_is_whole_stratified_and_repeatable(counts, seed, share):
    labels = labels_of(counts)
    split = split_training(labels, classes=NAMES[: len(counts)], seed=seed, validation_share=share)
    assert sorted([*split.training, *split.validation]) == list(range(len(labels)))
    for part in (split.training, split.validation):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    in_validation = np.bincount(labels[split.validation], minlength=len(counts))
    assert (in_validation >= 1).all()
    assert (in_validation < counts).all()
    assert (abs(in_validation - share * np.array(counts)) <= 2).all()
    again = split_training(labels, classes=NAMES[: len(counts)], seed=seed, validation_share=share)
    assert (again.validation == split.validation).all()


def test_without_a_validation_share_all_images_train():
    split = split_training(labels_of([300, 200, 1]), classes=NAMES[:3], seed=0, validation_share=0)
    assert split.training.tolist() == list(range(501))
    assert split.validation.tolist() == []


def test_without_a_validation_share_a_limit_keeps_what_it_kept_with_one():
    labels = labels_of([600, 300, 100])
    with_one = split_training(labels, classes=NAMES[:3], seed=3, limit=150)
    split = split_training(labels, classes=NAMES[:3], seed=3, limit=150, validation_share=0)
    assert split.training.tolist() == sorted([*with_one.training.tolist(), *with_one.validation.tolist()])


def test_another_seed_gives_another_split():
    labels = labels_of([50, 50])
    first, second = (split_training(labels, classes=NAMES[:2], seed=seed) for seed in (0, 1))
    assert set(first.validation) != set(second.validation)


def test_a_limit_keeps_the_proportions_and_a_larger_one_keeps_what_a_smaller_one_kept():
    labels = labels_of([600, 300, 100])
    kept = {}
    for limit in (150, 400, 999, 1000, 5000):
        split = split_training(labels, classes=NAMES[:3], seed=3, limit=limit)
        kept[limit] = {*split.training.tolist(), *split.validation.tolist()}
        assert len(kept[limit]) == min(limit, 1000)
    assert np.bincount(labels[list(kept[400])]).tolist() == [240, 120, 40]
    assert kept[150] < kept[400] < kept[999] < kept[1000] == kept[5000]
    other = split_training(labels, classes=NAMES[:3], seed=4, limit=150)
    assert {*other.training.tolist(), *other.validation.tolist()} != kept[150]


@pytest.mark.parametrize("share", [1, -0.1, 1.5, float("nan")])
def test_impossible_shares(share):
    with pytest.raises(SqueezekitError, match="validation share of .* is not possible: give 0 or more, and less than 1"):
        split_training(labels_of([20, 20]), classes=NAMES[:2], seed=0, validation_share=share)


@pytest.mark.parametrize(("share", "minimum"), [(0.1, 10), (0.2, 5), (0.5, 2), (0.9, 10), (0.05, 20)])
def test_a_class_with_too_few_images_is_named_with_its_count_and_the_minimum(share, minimum):
    enough = split_training(labels_of([minimum, 50]), classes=("few", "many"), seed=0, validation_share=share)
    assert 0 < len(enough.validation) < minimum + 50
    with pytest.raises(SqueezekitError, match=f"class 'few' holds {minimum - 1} image.*at least {minimum}"):
        split_training(labels_of([minimum - 1, 50]), classes=("few", "many"), seed=0, validation_share=share)


def test_a_class_without_images_is_named():
    with pytest.raises(SqueezekitError, match="class 'c' holds 0 images"):
        split_training(labels_of([20, 20]), classes=("a", "b", "c"), seed=0)


@pytest.mark.parametrize("limit", [-5, 0, 1, 19, 30])
def test_a_limit_too_small_is_named_with_the_class(limit):
    with pytest.raises(SqueezekitError, match=f"limit of {limit} keeps . images? of class 'a'.*at least 10.*raise the limit"):
        split_training(labels_of([30, 70]), classes=("a", "b"), seed=0, limit=limit)


def test_15_percent_of_each_class_by_content():
    labels = [0] * 40 + [1] * 10 + [2] * 2
    hashes = content(*range(52))
    chosen = chosen_for_test(labels, hashes)
    assert np.bincount(np.array(labels)[chosen]).tolist() == [6, 2, 1]
    smallest = sorted(hashes[:40])[:6]
    assert {hashes[at] for at in np.flatnonzero(chosen[:40])} == set(smallest)


@given(st.permutations(list(range(30))))
def test_the_order_of_the_files_does_not_matter(order):
    hashes = content(*range(30))
    labels = [number % 3 for number in range(30)]
    straight = chosen_for_test(labels, hashes)
    shuffled = chosen_for_test([labels[at] for at in order], [hashes[at] for at in order])
    assert (shuffled == straight[order]).all()


def test_the_same_content_is_never_on_both_sides():
    values = [number % 12 for number in range(60)]
    labels = [int(number >= 35) for number in range(60)]
    chosen = chosen_for_test(labels, content(*values))
    tested = {value for value, test in zip(values, chosen, strict=True) if test}
    trained = {value for value, test in zip(values, chosen, strict=True) if not test}
    assert tested
    assert trained
    assert not tested & trained


@pytest.mark.parametrize("seed", range(20))
def test_parts_are_those_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    classes, share = int(random.integers(2, 9)), float(random.choice([0.05, 0.1, 1 / 7, 0.33, 0.5]))
    counts = random.integers(20, 60, classes)
    labels = random.permutation(np.repeat(np.arange(classes), counts))
    found = split_training(labels, classes="abcdefgh"[:classes], seed=seed, validation_share=share)
    count = len(found.validation)
    expected = train_test_split(np.arange(len(labels)), test_size=count, stratify=labels, random_state=_generator(seed))
    assert [sorted(part) for part in expected] == [found.training.tolist(), found.validation.tolist()]


def imageset(labels, copies_of, validation=0):
    """Images of which each is a copy of the one at that index."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 4, 4, 1), np.uint8)[np.asarray(copies_of)]
    return ImageSet(pixels, np.asarray(labels, np.int64), NAMES[: max(labels) + 1], "", mirrorable=True, validation=validation)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from([0, 4]))
def test_copies_stay_on_one_side_of_every_split_and_fold(seed, folds):
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], 40)
    copies = np.where(random.random(120) < 0.5, np.arange(120), np.arange(120) // 3 * 3)
    # Some are copies of one in another class.
    copies[-4:] = copies[:4]
    images = imageset(labels.tolist(), copies)
    for fold in range(max(folds, 1)):
        split = split_images(images, seed=seed, validation_share=0.25, folds=folds, fold=fold)
        assert sorted([*split.training, *split.validation]) == list(range(120))
        assert not set(images.first_copies[split.training]) & set(images.first_copies[split.validation])
        assert 12 <= len(split.validation) <= 48


def test_images_without_copies_are_split_as_their_labels_alone():
    labels = [0] * 30 + [1] * 20
    images = imageset(labels, np.arange(50))
    for options in ({}, {"limit": 40}, {"folds": 5, "fold": 2}):
        one, other = split_images(images, seed=5, **options), split_training(labels, classes=NAMES[:2], seed=5, **options)
        assert (one.validation == other.validation).all() and (one.training == other.training).all()


def test_a_class_of_copies_has_too_few_different_images():
    with pytest.raises(
        SqueezekitError,
        match=r"class 'b' holds 1 image for training \(copies count once, in their first class\).* raise --validation-share",
    ):
        split_images(imageset([0] * 20 + [1] * 20, [*range(20), *[20] * 20]), seed=0)


def test_a_validation_part_of_its_own_validates():
    images = imageset([0, 1] * 20, np.arange(40), validation=8)
    assert split_images(images, seed=1).validation.tolist() == list(range(32, 40))
    limited = split_images(images, seed=1, limit=20)
    assert len(limited.training) + len(limited.validation) == 20 and (limited.validation >= 32).all()
    # Folds take turns over all images that are not for the test.
    assert len(split_images(images, seed=1, folds=4, fold=0).validation) == 10


def test_a_limit_that_leaves_a_part_without_a_class():
    with pytest.raises(SqueezekitError, match="limit of 4 keeps .*raise the limit"):
        split_images(imageset([0, 1] * 50, np.arange(100), validation=4), seed=1, limit=4)


def grouped(labels, groups, **options):
    first = np.unique(groups, return_index=True)[1][np.unique(groups, return_inverse=True)[1]]
    labels = np.asarray(labels)
    return split_training(
        labels, classes=NAMES[: labels.max() + 1], first_copies=np.arange(len(labels)), first_together=first, **options
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**40), st.sampled_from([0, 5]))
def test_groups_are_on_one_side(seed, folds):
    groups = np.random.default_rng(seed % 997).integers(0, 120, 400)
    labels = groups % 3
    split = grouped(labels, groups, seed=seed, folds=folds, fold=folds and 2)
    assert not set(groups[split.training]) & set(groups[split.validation])
    assert sorted([*split.training, *split.validation]) == list(range(400))
    share = 1 / folds if folds else 0.1
    assert (abs(np.bincount(labels[split.validation]) - share * np.bincount(labels)) <= 8).all()


def test_groups_of_several_classes_validate_once_over_all_folds():
    groups, labels = np.repeat(np.arange(30), 8), np.tile([0, 0, 0, 0, 0, 0, 1, 1], 30)
    parts = [grouped(labels, groups, seed=1, folds=5, fold=fold).validation for fold in range(5)]
    assert sorted(np.concatenate(parts)) == list(range(240))
    assert all(np.bincount(labels[part]).tolist() == [36, 12] for part in parts)


def test_a_class_of_too_few_groups_is_named():
    labels = np.repeat([0, 1], 40)
    groups = np.where(labels == 0, np.arange(80), 100)
    with pytest.raises(SqueezekitError, match=r"class 'b' is one group of images that belong together.*one to train and one to"):
        grouped(labels, groups, seed=0)
    groups = np.where(labels == 0, np.arange(80), 100 + np.arange(80) % 3)
    with pytest.raises(SqueezekitError, match="class 'b' has 3 groups.*one for each of 5 folds"):
        grouped(labels, groups, seed=0, folds=5)


def test_whole_groups_go_to_test_until_15_percent():
    labels, hashes = [0] * 200, content(*range(200))
    groups = np.arange(200) // 5
    chosen = chosen_for_test(labels, hashes, groups)
    assert chosen.sum() == 30 and set(chosen.reshape(-1, 5).sum(1)) == {0, 5}
    again = np.random.default_rng(0).permutation(200)
    assert (chosen_for_test(labels, [hashes[at] for at in again], groups[again] + 7) == chosen[again]).all()


def test_a_group_too_large_for_the_test_is_passed_over_while_there_are_others():
    hashes = content(*range(100))
    for large in (31, 60, 90):
        chosen = chosen_for_test([0] * 100, hashes, np.maximum(np.arange(100) - large, 0))
        assert not chosen[:large].any() and chosen.any()
    assert chosen_for_test([0] * 10, content(*range(10)), np.zeros(10, np.int64)).all()


def test_a_group_that_spans_classes_goes_to_test_whole():
    groups = np.repeat(np.arange(40), 10)
    labels = np.tile([0, 1], 200)
    chosen = chosen_for_test(labels.tolist(), content(*range(400)), groups)
    assert set(chosen.reshape(-1, 10).sum(1)) == {0, 10} and chosen.sum() == 60
