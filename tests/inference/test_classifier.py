"""Evaluation and prediction of a trained network."""

import numpy as np
import pytest
import torch
from PIL import Image

from squeezekit import Classifier, SqueezekitError, evaluate
from squeezekit.data.sources import load_images
from squeezekit.inference.evaluation import calibration_error


def test_evaluation_agrees_with_the_summary(tiny_run):
    for split in ("test", "validation"):
        evaluation = evaluate(tiny_run.folder, split=split)
        assert evaluation.accuracy == pytest.approx(tiny_run.summary[split]["accuracy"])
        assert evaluation.loss == pytest.approx(tiny_run.summary[split]["loss"], rel=1e-5)
        confusion = np.array(evaluation.confusion)
        assert confusion.trace() / confusion.sum() == pytest.approx(evaluation.accuracy)
        assert sum(row["images"] for row in evaluation.per_class.values()) == len(evaluation.images)
        assert evaluation.top5_accuracy >= evaluation.accuracy


def test_classifier_answers_as_evaluation_does(tiny_run):
    test = load_images("digits", image_size=16).test
    classifier = Classifier.load(tiny_run.folder)
    predictions = classifier.classify(list(test.images[:50]))
    evaluation = evaluate(tiny_run.folder)
    assert [p.label for p in predictions] == [test.classes[i] for i in evaluation.probabilities[:50].argmax(1)]
    assert sum(p for _, p in predictions[0].probabilities) == pytest.approx(1, abs=1e-5)


def test_every_kind_of_picture_gives_the_same_answer(tiny_run, tmp_path):
    pixels = load_images("digits").test.images[0]
    path = tmp_path / "digit.png"
    Image.fromarray(pixels[:, :, 0]).save(path)
    classifier = Classifier.load(tiny_run.folder)
    answers = [classifier(path), classifier(str(path)), classifier(pixels), classifier(Image.open(path))]
    assert len({answer.probabilities for answer in answers}) == 1


def test_calibration_error():
    sure = torch.tensor([[0.9, 0.1]] * 10)
    labels = torch.tensor([0] * 9 + [1])
    assert calibration_error(sure, labels) == pytest.approx(0, abs=1e-6)
    assert calibration_error(sure, 1 - labels) == pytest.approx(0.8, abs=1e-6)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(SqueezekitError, match="does not exist"):
        Classifier.load(tmp_path / "nothing")


def test_a_split_that_does_not_exist_is_named(tiny_run):
    with pytest.raises(SqueezekitError, match="choose test or validation"):
        evaluate(tiny_run.folder, split="training")


def test_the_callers_picture_stays_as_it_is(tiny_run, tmp_path):
    Image.new("RGB", (800, 600), "red").save(tmp_path / "large.jpg")
    with Image.open(tmp_path / "large.jpg") as picture:
        Classifier.load(tiny_run.folder)(picture)
        assert picture.size == (800, 600)
