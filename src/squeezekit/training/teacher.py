"""A trained network whose answers another one learns."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from squeezekit.data.image_set import ImageSet
from squeezekit.data.splits import Split
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.fine_tuning import StartingPoint
from squeezekit.training.run_folder import Run


class Teacher(nn.Module):
    """A network in evaluation mode, for images normalized for another one: float [n, c, size, size] -> logits [n, classes].

    `own` is its configuration; `digest` names its weights.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, own: NetworkConfig, student: NetworkConfig, digest: str = "") -> None:
        super().__init__()
        self.network, self.own, self.digest = network.eval().requires_grad_(False), own, digest
        mean, std, given_mean, given_std = (
            torch.tensor(numbers).expand(own.channels).view(1, -1, 1, 1)
            for numbers in (own.mean, own.std, student.mean, student.std)
        )
        self.same = (own.mean, own.std) == (student.mean, student.std)
        self.register_buffer("scale", given_std / std)
        self.register_buffer("shift", (given_mean - mean) / std)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.network(x if self.same else x * self.scale + self.shift)
        return logits


def teacher_of(folder: Path, network: NetworkConfig, data: dict[str, Any], split: Split) -> Teacher:
    """The network of the finished run in `folder`, as a teacher of `network`, whose run has that `data.json` and `split`.

    Raises SqueezekitError where it knows other classes, takes images of another size, or has learnt from images that validate
    its student.
    """
    run = Run(folder)
    if run.summary is None:
        raise SqueezekitError(f"{folder}: its training is not finished; finish it before it teaches")
    teacher = Teacher(_one_sided(run.network()), run.config.network, network, run.weights_digest())
    _check(folder, teacher, run.data["classes"], run.fingerprints, network, data)
    if np.intersect1d(run.split.training, split.validation).size:
        raise SqueezekitError(
            f"{folder}: has learnt images that validate this run; give both the same --seed and --validation-share"
        )
    return teacher


def teacher_from(point: StartingPoint, network: NetworkConfig, data: dict[str, Any], split: Split, images: ImageSet) -> Teacher:
    """A MODEL that is no run, as `teacher_of` makes one; `images` are the training images, validation included.

    Raises SqueezekitError as that does.
    """
    teacher = Teacher(_one_sided(point.network), point.config, network, _digest(point))
    _check(point.name, teacher, list(point.classes), point.fingerprints, network, data)
    if point.fingerprints is None:
        say(f"{point.name} does not say what it has learnt from: with images that validate this run, their accuracy is too high")
    elif np.setdiff1d(split.validation, point.validation(images)).size:
        raise SqueezekitError(
            f"{point.name}: may have learnt images that validate this run; give its own --seed and --validation-share"
        )
    return teacher


def _check(
    name: str | Path,
    teacher: Teacher,
    classes: list[str],
    fingerprints: tuple[str, str] | None,
    network: NetworkConfig,
    data: dict[str, Any],
) -> None:
    """Raise SqueezekitError where it is not the teacher of a run, or cannot be."""
    own = teacher.own
    if data.get("teacher", teacher.digest) != teacher.digest:
        raise SqueezekitError(f"{name}: not the teacher that this run has had so far; name that one with --teacher")
    if classes != data["classes"]:
        raise SqueezekitError(f"{name}: knows other classes than these images have; choose another --teacher")
    if (own.image_size, own.channels) != (network.image_size, network.channels):
        raise SqueezekitError(
            f"{name}: takes images of {own.image_size} pixels and {own.channels} channels; choose another --teacher"
        )
    if fingerprints and fingerprints != (data["fingerprint"], data["test_fingerprint"]):
        raise SqueezekitError(f"{name}: was trained on other images; choose another --teacher")


def _one_sided(network: nn.Module) -> nn.Module:
    """With mirror images as well it teaches nothing more (docs/log.md), at twice the time."""
    if isinstance(network, SqueezeNet):
        network.config = network.config.model_copy(update={"mirrored": False})
    return network


def _digest(point: StartingPoint) -> str:
    """SHA-256 of configuration and weights, in hex."""
    digest = hashlib.sha256(point.config.model_dump_json().encode())
    for name, tensor in sorted(point.network.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
