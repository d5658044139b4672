"""Cross-validation: folds are what they should be, and so are intervals and the test."""

import json

import numpy as np
import pytest
from scipy import stats

from squeezekit import SqueezekitError
from squeezekit.data.splits import split_training
from squeezekit.search.crossval import compared, cross_validate, spread
from squeezekit.training.run_folder import Run
from tests.fixtures.tiny import SMALL

FIELDS = {**SMALL, "limit": 200, "epochs": 1}


def test_every_image_validates_once_and_classes_are_in_proportion():
    labels = np.repeat(np.arange(3), [50, 30, 20])
    splits = [split_training(labels, classes="abc", seed=3, folds=5, fold=fold) for fold in range(5)]
    assert sorted(np.concatenate([split.validation for split in splits])) == list(range(100))
    for split in splits:
        assert sorted([*split.training, *split.validation]) == list(range(100))
        assert list(np.bincount(labels[split.validation])) == [10, 6, 4]
        assert (np.diff(split.training) > 0).all() and (np.diff(split.validation) > 0).all()
    other = split_training(labels, classes="abc", seed=4, folds=5, fold=0)
    assert list(other.validation) != list(splits[0].validation)


def test_a_limit_comes_before_the_folds():
    labels = np.repeat(np.arange(2), 100)
    splits = [split_training(labels, classes="ab", seed=0, folds=4, fold=fold, limit=40) for fold in range(4)]
    assert len(set(np.concatenate([split.validation for split in splits]))) == 40
    assert all((np.diff(part) > 0).all() for split in splits for part in (split.training, split.validation))


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (5, 5), (5, -1)])
def test_folds_that_are_none(folds, fold):
    with pytest.raises(SqueezekitError, match="not possible"):
        split_training(np.repeat([0, 1], 50), classes="ab", seed=0, folds=folds, fold=fold)


def test_a_class_with_fewer_images_than_folds_is_named():
    with pytest.raises(SqueezekitError, match="class 'b' holds 3 images"):
        split_training(np.repeat([0, 1], [50, 3]), classes="ab", seed=0, folds=5)


def test_the_interval_is_that_of_overlapping_training_sets():
    values = [0.8, 0.82, 0.79, 0.81, 0.83]
    found = spread(values, 5)
    # By hand: t(4) = 2.776, variance × (1/5 + 1/4).
    reach = 2.7764451 * np.std(values, ddof=1) * np.sqrt(0.2 + 0.25)
    assert (found.mean, found.deviation) == (pytest.approx(0.81), pytest.approx(np.std(values, ddof=1)))
    assert (found.low, found.high) == (pytest.approx(0.81 - reach), pytest.approx(0.81 + reach))


def test_the_corrected_test_is_the_plain_one_with_a_wider_error():
    values, others = [0.9, 0.91, 0.92, 0.9, 0.93], [0.88, 0.9, 0.89, 0.89, 0.9]
    differences = np.subtract(values, others)
    plain = stats.ttest_1samp(differences, 0)
    found = compared(values, others, 5, "other")
    # The usual t, its 1/J widened to 1/J + 1/(K-1).
    assert found.t == pytest.approx(plain.statistic * np.sqrt(0.2 / 0.45))
    assert found.p > plain.pvalue and found.difference == pytest.approx(differences.mean())
    assert compared(values, values, 5, "same").p == 1


def test_overlapping_folds_do_not_find_differences_that_are_none():
    """Two networks of equal merit: at 5 %, the plain paired test says too often that one is better."""
    rng = np.random.default_rng(0)
    wrong = {"plain": 0, "corrected": 0}
    for _ in range(400):
        # Ten repetitions of five folds share what they have in common.
        common = rng.normal(0, 1)
        differences = common + rng.normal(0, 2, 50)
        wrong["plain"] += stats.ttest_1samp(differences, 0).pvalue < 0.05
        wrong["corrected"] += compared(differences, np.zeros(50), 5, "").p < 0.05
    assert wrong["corrected"] / 400 < 0.1 < wrong["plain"] / 400


@pytest.mark.slow
def test_two_networks_on_the_same_folds(tmp_path):
    first = cross_validate("digits", tmp_path / "first", folds=2, repeats=2, **FIELDS)
    assert [(row.fields["seed"], row.fields["fold"]) for row in first.rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert first.accuracy.mean == pytest.approx(np.mean([row.accuracy for row in first.rows]))
    runs = [Run(tmp_path / "first" / f"{i:04d}") for i in range(2)]
    assert sorted(np.concatenate([run.split.validation for run in runs])) == sorted(
        [*runs[0].split.training, *runs[0].split.validation]
    )
    assert all("test" not in run.summary for run in runs)
    second = cross_validate(
        "digits", tmp_path / "second", folds=2, repeats=2, against=tmp_path / "first", learning_rate=0.01, **FIELDS
    )
    expected = np.mean([row.loss for row in second.rows]) - np.mean([row.loss for row in first.rows])
    assert second.against["loss"].difference == pytest.approx(expected)
    assert json.loads((tmp_path / "second" / "crossval.json").read_text())["against"]["loss"]["other"] == str(tmp_path / "first")
    with pytest.raises(SqueezekitError, match="has other folds"):
        cross_validate("digits", tmp_path / "third", folds=3, repeats=2, against=tmp_path / "first", **FIELDS)
    with pytest.raises(SqueezekitError, match="not a finished cross-validation"):
        cross_validate("digits", tmp_path / "third", folds=2, against=tmp_path, **FIELDS)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "[" * 100_000,
        '{"study": "", "plan": {"images": "", "space": [], "fields": {}}, "rows": []}',
        '{"rows": NaN}',
    ],
)
def test_a_damaged_cross_validation_to_compare_with_is_named(tmp_path, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "crossval.json").write_text(content)
    with pytest.raises(SqueezekitError, match=r"crossval\.json: "):
        cross_validate("digits", tmp_path / "b", against=tmp_path / "a", **FIELDS)
    assert not (tmp_path / "b").exists()
