"""A trained network whose answers another one learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from squeezekit.data.splits import Split
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.system.errors import SqueezekitError
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
    own = run.config.network
    if run.summary is None:
        raise SqueezekitError(f"{folder}: its training is not finished; finish it before it teaches")
    if data.get("teacher", run.weights_digest()) != run.weights_digest():
        raise SqueezekitError(f"{folder}: not the teacher that this run has had so far; name that one with --teacher")
    if run.data["classes"] != data["classes"]:
        raise SqueezekitError(f"{folder}: knows other classes than these images have; choose another --teacher")
    if (own.image_size, own.channels) != (network.image_size, network.channels):
        raise SqueezekitError(
            f"{folder}: takes images of {own.image_size} pixels and {own.channels} channels; choose another --teacher"
        )
    if run.fingerprints != (data["fingerprint"], data["test_fingerprint"]):
        raise SqueezekitError(f"{folder}: was trained on other images; choose another --teacher")
    if np.intersect1d(run.split.training, split.validation).size:
        raise SqueezekitError(
            f"{folder}: has learnt images that validate this run; give both the same --seed and --validation-share"
        )
    trained = run.network()
    if isinstance(trained, SqueezeNet):
        # With mirror images as well it teaches nothing more (docs/log.md), at twice the time.
        trained.config = trained.config.model_copy(update={"mirrored": False})
    return Teacher(trained, own, network, run.weights_digest())
