"""Where a training stands."""

from __future__ import annotations

from dataclasses import dataclass, field

# Of each epoch: the columns of `metrics.csv`.
METRICS = (
    "epoch",
    "seconds",
    "learning_rate",
    "training_loss",
    "training_accuracy",
    "validation_loss",
    "validation_accuracy",
    "images_per_s",
)


@dataclass
class Progress:
    """Epochs done, steps done of the next, and sums over those steps.

    `loss_sum`, `right` and `images` add up the images of those steps; `history` has one row of `metrics.csv` for each epoch;
    `stopped` says that early stopping has ended the training; `accelerated` whether compiled kernels compute its layers.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    right: int = 0
    images: int = 0
    step_seconds: float = 0.0
    seconds: float = 0.0
    untrained_loss: float = 0.0
    stopped: bool = False
    accelerated: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
