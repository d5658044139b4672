"""Evaluation and prediction of a trained network."""

import numpy as np
import pytest
import torch
from PIL import Image

from squeezekit import Classifier, SqueezekitError, evaluate
from squeezekit.data.sources import load_images
from squeezekit.inference.evaluation import calibration_error
from squeezekit.system.errors import RunFailed


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


def test_floating_point_numbers_are_the_same_picture(tiny_run):
    pixels = load_images("digits").test.images[0]
    classifier = Classifier.load(tiny_run.folder)
    assert classifier(pixels / 255).probabilities == classifier((pixels[:, :, 0] / 255).astype("f4")).probabilities
    assert classifier(pixels / 255).probabilities == classifier(pixels).probabilities


def test_what_no_picture_can_be_is_refused(tiny_run):
    classifier = Classifier.load(tiny_run.folder)
    for one, said in (("a.png", "a list of pictures, not a str"), (Image.new("L", (4, 4)), "a list of pictures, not a Image")):
        with pytest.raises(SqueezekitError, match=said):
            classifier.classify(one)
    for pixels in (np.zeros((2, 16, 16, 1)), np.zeros((16, 16), np.uint8), np.zeros((2, 8, 8, 1), np.uint8)):
        with pytest.raises(SqueezekitError, match=r"an array of .*: give uint8 \[n, 16, 16, 1\]"):
            classifier.classify_pixels(pixels)
    assert classifier.classify_pixels(np.zeros((0, 16, 16, 1), np.uint8)) == classifier.classify([]) == []


def test_what_is_no_number_is_no_class(tiny_run):
    classifier = Classifier.load(tiny_run.folder)
    with torch.no_grad():
        next(classifier.network.parameters()).fill_(torch.nan)
    with pytest.raises(RunFailed, match="answers with what is no number"):
        classifier(np.zeros((16, 16), np.uint8))


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
