"""Loss and accuracy of a network on a part of the images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.data.batches import Batches
from squeezekit.training.distributed import gathered


@dataclass(frozen=True)
class Measurement:
    """Of so many `images`: `loss` is the mean cross-entropy in nats, `loss_error` its standard error; `accuracy` top-1 (0…1).

    `balanced_accuracy` is the mean over classes.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float
    loss_error: float
    images: int


def images_at_once(image_size: int, device: torch.device | None = None) -> int:
    """How many images to measure in one batch: 250 of 32 × 32, fewer of larger ones, so that memory stays the same.

    On a GPU ten times as many, which fill it.
    """
    most = 2500 if device and device.type == "cuda" else 250
    return max(min(most * 32**2 // image_size**2, most), 1)


def logits_of(network: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """Logits, float [n, classes], and labels, int64 [n], in the order of the images, on the CPU; dropout off.

    Where several processes share the images, each computes its part and gets all.
    """
    network.eval()
    with torch.inference_mode():
        parts = [(network(images).float(), labels) for images, labels in batches.in_order()]
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    if batches.ranks > 1:
        logits, labels = (gathered(share, batches.shares()) for share in (logits, labels))
    return logits.cpu(), labels.cpu()


def measure(network: nn.Module, batches: Batches) -> Measurement:
    """Measure `network` on every image of `batches`; every figure is NaN where there is none."""
    if not len(batches):
        return Measurement(math.nan, math.nan, math.nan, math.nan, images=0)
    return measurement(*logits_of(network, batches))


def measurement(logits: Tensor, labels: Tensor) -> Measurement:
    """What logits [n, classes] say about labels [n]."""
    right = (logits.argmax(1) == labels).double()
    counts = torch.bincount(labels, minlength=logits.shape[1])
    recalls = torch.bincount(labels, right, minlength=logits.shape[1])[counts > 0] / counts[counts > 0]
    losses = F.cross_entropy(logits, labels, reduction="none").double()
    error = float(losses.std(correction=0)) / len(losses) ** 0.5
    return Measurement(float(losses.mean()), float(right.mean()), float(recalls.mean()), error, len(labels))
