"""A trained network whose answers another one learns."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.data.splits import Split
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.networks.weights import read_weights, take_weights
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.fine_tuning import StartingPoint
from squeezekit.training.head import fit_head, last_layer
from squeezekit.training.measurement import images_at_once
from squeezekit.training.run_folder import Run


class Teacher(nn.Module):
    """A network in evaluation mode, for images of another one: float [n, c, h, w], normalized for that -> logits [n, classes].

    Images are resized to its own size, and grey ones may be shown to a network of three channels. `own` is its configuration;
    `digest` names its weights. `head` is a last layer that was fitted to the images of the run.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, own: NetworkConfig, student: NetworkConfig, digest: str = "") -> None:
        super().__init__()
        self.network, self.own, self.digest = network.requires_grad_(False), own, digest
        self.head: dict[str, Tensor] | None = None
        self.eval()
        mean, std, given_mean, given_std = (
            torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (own.mean, own.std, student.mean, student.std)
        )
        self.same = (own.channels, own.mean, own.std) == (student.channels, student.mean, student.std)
        self.register_buffer("scale", given_std / std)
        self.register_buffer("shift", (given_mean - mean) / std)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = x if self.same else x * self.scale + self.shift
        # So many larger images would take gigabytes.
        at_once = images_at_once(self.own.image_size, x.device) if self.own.image_size > x.shape[-1] else max(len(x), 1)
        return torch.cat([self.network(self.shaped(some)) for some in torch.split(x, at_once)])

    def shaped(self, x: Tensor) -> Tensor:
        """Images [n, c, h, w] in the size and with the channels that the network takes."""
        x = x.expand(-1, self.own.channels, -1, -1)
        before, size = x.shape[-1], self.own.image_size
        if before == size:
            return x
        return F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=before > size)


def teacher_of(folder: Path, network: NetworkConfig, data: dict[str, Any], split: Split) -> Teacher:
    """The network of the finished run in `folder`, as a teacher of `network`, whose run has that `data.json` and `split`.

    Raises SqueezekitError where it knows other classes, takes images of other channels, or has learnt from images that validate
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
    teacher = Teacher(_one_sided(point.network), point.config, network, _digest(point.config, point.network))
    _check(point.name, teacher, list(point.classes), point.fingerprints, network, data)
    if point.fingerprints is None:
        say(f"{point.name} does not say what it has learnt from: with images that validate this run, their accuracy is too high")
    elif np.setdiff1d(split.validation, point.validation(images)).size:
        raise SqueezekitError(
            f"{point.name}: may have learnt images that validate this run; give its own --seed and --validation-share"
        )
    return teacher


def teacher_on(backbone: StartingPoint, network: NetworkConfig, classes: int) -> Teacher:
    """A MODEL that knows no classes of its own, as a teacher of so many; its last layer is still to be fitted (`learn_classes`).

    Raises SqueezekitError where it takes images of other channels.
    """
    own = backbone.config.model_copy(update={"classes": classes})
    _check_channels(backbone.name, own, network)
    built = own.build()
    take_weights(built, backbone.network.state_dict(), backbone.name)
    return Teacher(built, own, network)


def learn_classes(teacher: Teacher, images: Batches, *, weights: Tensor | None, seed: int) -> None:
    """Fit the last layer of what `teacher_on` gave to images, none of which may validate; see `fit_head`."""
    if not fit_head(teacher, images, weights=weights, seed=seed):
        raise SqueezekitError(f"{teacher.own.name}: its last layer cannot be fitted to other classes; choose another --teacher")
    teacher.head = {name: tensor.cpu() for name, tensor in last_layer(teacher).state_dict().items()}
    teacher.digest = _digest_of_head(teacher)


def take_head(teacher: Teacher, head: Path, data: dict[str, Any]) -> None:
    """Let what `teacher_on` gave have the last layer that it had in the run of that `data.json`, which is in the file `head`."""
    try:
        last_layer(teacher).load_state_dict(read_weights(head))
    except RuntimeError:
        raise SqueezekitError(f"{head}: damaged (another layer is in it); start a new run") from None
    teacher.digest = _digest_of_head(teacher)
    _check_same(teacher.own.name, teacher, data)


def _digest_of_head(teacher: Teacher) -> str:
    # What it stands on is known by its name, and folded anew on every machine, which may round otherwise.
    return _digest(teacher.own, last_layer(teacher))


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
    _check_same(name, teacher, data)
    if classes != data["classes"]:
        raise SqueezekitError(f"{name}: knows other classes than these images have; choose another --teacher")
    _check_channels(name, own, network)
    if fingerprints and fingerprints != (data["fingerprint"], data["test_fingerprint"]):
        raise SqueezekitError(f"{name}: was trained on other images; choose another --teacher")


def _check_same(name: str | Path, teacher: Teacher, data: dict[str, Any]) -> None:
    if data.get("teacher", teacher.digest) != teacher.digest:
        raise SqueezekitError(f"{name}: not the teacher that this run has had so far; name that one with --teacher")


def _check_channels(name: str | Path, own: NetworkConfig, network: NetworkConfig) -> None:
    if network.channels not in (1, own.channels):
        raise SqueezekitError(
            f"{name}: takes images of {own.channels} channels, not {network.channels}; choose another --teacher"
        )


def _one_sided(network: nn.Module) -> nn.Module:
    """With mirror images as well it teaches nothing more (docs/log.md), at twice the time."""
    if isinstance(network, SqueezeNet):
        network.config = network.config.model_copy(update={"mirrored": False})
    return network


def _digest(config: NetworkConfig, network: nn.Module) -> str:
    """SHA-256 of configuration and weights, in hex."""
    digest = hashlib.sha256(config.model_dump_json().encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
