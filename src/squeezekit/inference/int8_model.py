"""A trained model in 8-bit integers: its plan, its accuracy, and the images that calibrate it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezekit.acceleration.folding import folded
from squeezekit.codec.encodings import Quantized
from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.inference.evaluation import evaluate_model, has_validation_images, own_images
from squeezekit.inference.model import Model
from squeezekit.inference.onnx_network import OnnxNetwork
from squeezekit.integer.plan import IntegerPlan
from squeezekit.integer.quantizer import Planned, no_integer_form, plan_of
from squeezekit.integer.reference import IntegerNetwork
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.measurement import images_at_once

CALIBRATION_IMAGES = 512


def integer_plan(model: Model, data: str | Path | None = None) -> IntegerPlan:
    """The integer plan of a SqueezeNet, a network of stages, or one of nodes.

    Scales of feature maps come from the activation ranges that a `.sqz` file states, else from training images: the model's own,
    or those that `data` names. Raises SqueezekitError for a network with a layer that has no integer form, which it names, and
    where images are needed and missing.
    """
    if isinstance(model.network, OnnxNetwork):
        raise SqueezekitError(f"{model.name}: is ONNX already; give the run or the .sqz file that it was made from")
    if problem := no_integer_form(model.network):
        raise SqueezekitError(f"{model.name}: {problem}; export to ONNX instead")
    assert isinstance(model.network, Planned)
    network = folded(model.network)
    if not Path(model.name).is_file():
        return plan_of(network, _measured_ranges(model, network, data))
    sqz = read_sqz(Path(model.name))
    grids = {name: part for name, part in sqz.weights.items() if isinstance(part, Quantized)}
    if sqz.activation_ranges is None:
        return plan_of(network, _measured_ranges(model, network, data), grids)
    # Ranges stand in the order of the file's convolutions, whatever that is.
    names = [name.removesuffix(".weight") for name, part in sqz.weights.items() if len(part.shape) == 4]
    return plan_of(network, sqz.activation_ranges, grids, names)


def in_int8(model: Model, plan: IntegerPlan) -> Model:
    """The same model, computed by the plan; images are given to it as pixels scaled to 0…1."""
    config = model.config.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    return replace(model, network=IntegerNetwork(plan), config=config)


def accuracy_in_integers(model: Model, plan: IntegerPlan, data: str | Path | None = None) -> dict[str, float]:
    """Accuracy 0…1 on the validation images, `before` in floats and `after` in integers; empty where none are at hand."""
    if not (data or model.data) or not has_validation_images(model, data):
        return {}
    before, after = (evaluate_model(one, data, "validation").accuracy for one in (model, in_int8(model, plan)))
    return {"before": before, "after": after}


def calibration_images(model: Model, images: ImageSet) -> NDArray[np.int64]:
    """Indices of at most 512 of the training images that do not validate, the same ones every time."""
    training = np.setdiff1d(np.arange(len(images)), model.validation(images))
    chosen: NDArray[np.int64] = np.random.default_rng(0).permutation(training)[:CALIBRATION_IMAGES]
    return chosen


def _measured_ranges(model: Model, network: Planned, data: str | Path | None) -> ActivationRanges:
    images, config = own_images(model, data).training, model.config
    size = images_at_once(config.image_size)
    batches = Batches(images, calibration_images(model, images), batch_size=size, mean=config.mean, std=config.std)
    return ActivationRanges.of(network, batches.in_order())
