"""How good a trained network is, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from squeezekit.data.batches import Batches
from squeezekit.data.curation import Curation, folder_of_labels
from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.sources import Data, data_name, in_memory, load_images
from squeezekit.inference.model import Model, load_model
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.presentation import Row, Tabular, percent
from squeezekit.training.measurement import images_at_once, logits_of, measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ClassScores(TypedDict):
    """How well one class is recognised: shares 0…1, and the number of its images."""

    precision: float
    recall: float
    f1: float
    images: int


@dataclass(frozen=True, repr=False)
class Evaluation(Tabular):
    """What a network does on one part of the images; shares are 0…1, `loss` is in nats.

    `calibration_error` is the expected calibration error over 15 equal bins of confidence (Guo et al., 2017,
    section 2); `confusion[i][j]` counts images of class i taken for class j. `images`, `labels` and `probabilities`
    [n, classes] are there for pictures of the mistakes. `to_frame()` has a row for each class.
    """

    accuracy: float
    balanced_accuracy: float
    top5_accuracy: float
    loss: float
    calibration_error: float
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]
    images: ImageSet
    probabilities: NDArray[np.float32]

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, without the images."""
        hidden = ("images", "probabilities")
        return {k: v for k, v in vars(self).items() if k not in hidden} | {"images": len(self.images)}

    def plot(self) -> Figure:
        """The confusion matrix, in images."""
        from squeezekit.inference.confusion_figure import confusion_figure

        figure = confusion_figure(self.confusion, self.images.classes)
        figure.axes[0].set_title(f"accuracy {self.accuracy:.1%} of {len(self.images)} images")
        return figure

    def _shown(self) -> Row:
        shares = {"accuracy": self.accuracy, "balanced accuracy": self.balanced_accuracy, "top-5 accuracy": self.top5_accuracy}
        numbers = {"loss": self.loss, "calibration error": self.calibration_error, "images": len(self.images)}
        return {**{name: percent(share) for name, share in shares.items()}, **numbers}

    def _records(self) -> Sequence[Row]:
        return [{"class": name, **scores} for name, scores in self.per_class.items()]


def evaluate(
    model: str | PathLike[str],
    data: Data | None = None,
    split: Literal["test", "validation"] = "test",
    labels: str | PathLike[str] | None = None,
    group_by: str = "",
    leave_out: str | PathLike[str] | None = None,
) -> Evaluation:
    """Evaluate a MODEL on its own test or validation images, or on other `data`.

    model: a run folder, a `.sqz` or an `.onnx` file, or a pretrained name. data: a name or a path; (images, labels) or
    (images, labels, class names), images uint8 [n, h, w, c]; or a map-style `torch.utils.data.Dataset` of (image, label). A file
    does not say where its images are: `data` names them. Of a name or a path the test part is measured; so it is of pictures in
    memory that the model was trained on, while others in memory are all measured. labels, group_by, leave_out: of other data, as
    for `train`; a run's own images keep what it was trained with.

    Raises SqueezekitError when the classes differ, or the model's own images are no longer what they were: a folder that
    has grown may have moved images it was trained on to its test part.
    """
    loaded, curation = load_model(model), Curation(str(labels or ""), group_by, str(leave_out or ""))
    if labels and data is None and not loaded.data:
        data = folder_of_labels(curation.labels)
    if curation or data is not None:
        loaded = replace(loaded, curation=curation)
    return evaluate_model(loaded, data, split)


def evaluate_model(loaded: Model, data: Data | None, split: str) -> Evaluation:
    """`evaluate` for a model that is loaded already."""
    if split not in ("test", "validation"):
        raise SqueezekitError(f"split '{split}' is unknown; choose test or validation")
    config = loaded.config
    if split == "test":
        images = tested_images(loaded, data)
    else:
        training = own_images(loaded, data).training
        chosen = loaded.validation(training)
        if not len(chosen):
            raise SqueezekitError(f"{loaded.name}: all its images trained, and none validated; leave out --split validation")
        images = training.subset(chosen)
    size = images_at_once(config.image_size)
    logits, labels = logits_of(loaded.network, Batches(images, batch_size=size, mean=config.mean, std=config.std))
    return _evaluation(logits / loaded.temperature, labels, images)


def has_validation_images(model: Model, data: Data | None) -> bool:
    """Whether any of the images that a model was made from validated it; raises SqueezekitError, as `evaluate` does."""
    return len(model.validation(own_images(model, data).training)) > 0


def tested_images(model: Model, data: Data | None) -> ImageSet:
    """What a model is tested on: the test part of its own images or of `data`; all of `data` in memory that it does not know.

    Raises SqueezekitError.
    """
    source = own_images(model, data, or_others=data is not None)
    foreign = data is not None and in_memory(data) and _fingerprints(source) != model.fingerprints
    return source.everything() if foreign else source.test


def own_images(model: Model, data: Data | None, *, or_others: bool = False) -> ImageSource:
    """The images that a model was made from, at `data` if they are not where they were; with `or_others` any of its classes.

    Raises SqueezekitError.
    """
    config = model.config
    name = model.data if data is None else data_name(data, model.classes)
    if not name:
        raise SqueezekitError(f"{model.name}: holds no images; name them with --data")
    source = load_images(
        name, image_size=config.image_size, channels=config.channels, max_pixels=model.max_pixels, curation=model.curation
    )
    if source.training.classes != model.classes:
        raise SqueezekitError(f"{source.name}: {_difference(model.classes, source.training.classes)}; give its own --data")
    if _fingerprints(source) != model.fingerprints and not or_others:
        advice = "use --split test" if data else "name them with --data to measure their test part all the same"
        raise SqueezekitError(f"{source.name}: no longer the images that {model.name} was made from; {advice}")
    return source


def _difference(known: Sequence[str], found: Sequence[str]) -> str:
    """How the classes of images differ from those that a model knows."""
    missing = [name for name in known if name not in set(found)]
    foreign = [name for name in found if name not in set(known)]
    parts = [f"lacks {_listed(missing)} of the model's classes"] * bool(missing)
    parts += [f"has {_listed(foreign)}, which the model does not know"] * bool(foreign)
    return " and ".join(parts) or "has the model's classes in another order"


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _fingerprints(source: ImageSource) -> tuple[str, str]:
    return source.training.fingerprint, source.test.fingerprint


def _evaluation(logits: torch.Tensor, labels: torch.Tensor, images: ImageSet) -> Evaluation:
    measured = measurement(logits, labels)
    probabilities = torch.softmax(logits, 1)
    count = len(images.classes)
    confusion = torch.bincount(labels * count + logits.argmax(1), minlength=count**2).view(count, count)
    top5 = (logits.topk(min(5, logits.shape[1])).indices == labels[:, None]).any(1).double().mean()
    return Evaluation(
        accuracy=measured.accuracy,
        balanced_accuracy=measured.balanced_accuracy,
        top5_accuracy=float(top5),
        loss=measured.loss,
        calibration_error=calibration_error(probabilities, labels),
        per_class=_per_class(confusion, images.classes),
        confusion=confusion.tolist(),
        images=images,
        probabilities=probabilities.numpy(),
    )


def _per_class(confusion: torch.Tensor, classes: Sequence[str]) -> dict[str, ClassScores]:
    """Of each class; 0 where a quotient has no images."""
    right, actual, predicted = confusion.diagonal().double(), confusion.sum(1), confusion.sum(0)
    columns = (right / predicted.clamp(min=1), right / actual.clamp(min=1), 2 * right / (actual + predicted).clamp(min=1))
    return {
        name: {"precision": p, "recall": r, "f1": f, "images": n}
        for name, p, r, f, n in zip(classes, *(column.tolist() for column in columns), actual.tolist(), strict=True)
    }


def calibration_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of confidence, weighted by their images."""
    confidence, predicted = probabilities.double().max(1)
    right = (predicted == labels).double()
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.bincount(bin_of, right - confidence, minlength=bins)
    return float(gap.abs().sum() / len(labels))
