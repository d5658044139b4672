"""A model in integers: its accuracy, and what has no integer form."""

import numpy as np
import pytest

from squeezekit import SqueezekitError, evaluate
from squeezekit.data.digits import load_digits
from squeezekit.inference.classifier import Classifier
from squeezekit.inference.int8_model import CALIBRATION_IMAGES, accuracy_in_integers, calibration_images, in_int8, integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.inference.onnx_network import OnnxNetwork
from squeezekit.networks import network_config


def test_a_run_in_integers_answers_nearly_as_before(tiny_run):
    model = load_model(tiny_run.folder)
    plan = integer_plan(model)
    accuracy = accuracy_in_integers(model, plan)
    assert accuracy["before"] == evaluate(tiny_run.folder, split="validation").accuracy
    assert abs(accuracy["after"] - accuracy["before"]) <= 0.08
    pixels = load_digits(image_size=16).test.images[:20]
    before, after = (Classifier(one).classify_pixels(pixels) for one in (model, in_int8(model, plan)))
    assert np.mean([one.label == other.label for one, other in zip(before, after, strict=True)]) > 0.8


def test_calibration_images_do_not_validate_and_are_the_same_each_time(tiny_run):
    model, images = load_model(tiny_run.folder), load_digits(image_size=16).training
    chosen = calibration_images(model, images)
    assert len(set(chosen)) == len(chosen) == min(CALIBRATION_IMAGES, len(images) - len(model.validation(images)))
    assert not set(chosen) & set(model.validation(images)) and np.array_equal(chosen, calibration_images(model, images))


def test_what_has_no_integer_form_says_why():
    with pytest.raises(SqueezekitError, match=r"x: layer '.*' \(.*\) has no integer form; export to ONNX instead"):
        integer_plan(model_of(network_config("mobilenetv2_050").build()))
    # As an .onnx file is loaded; its graph is not asked.
    with pytest.raises(SqueezekitError, match="is ONNX already"):
        integer_plan(model_of(OnnxNetwork.__new__(OnnxNetwork)))


def model_of(network):
    return Model("x", network, network_config("resnet8"), (), None, None, None)
