"""A network on its way to fewer bytes: rounded, written, and measured as a reader would find it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from squeezekit.compression.confidence import Confidence
from squeezekit.compression.forms import Quantised
from squeezekit.compression.origin import Origin
from squeezekit.compression.quantised_training import GridWeight
from squeezekit.compression.rounding import rounded
from squeezekit.compression.self_check import SelfCheck
from squeezekit.compression.sqz import Sqz, Stage, from_bytes
from squeezekit.images.batches import Batches
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.training.measure import logits_of, measurement


def candidate(
    name: str,
    network: SqueezeNet,
    grids: Sequence[GridWeight],
    classes: tuple[str, ...],
    validation: Batches,
    origin: Origin,
    before: tuple[Stage, ...],
) -> Sqz:
    """The whole file of a network on grids, its last stage what a reader finds; `before` are the stages that led here."""
    config = network.config.model_copy(update={"batch_norm": False})
    bare = Sqz(config, classes, rounded(network, grids))
    found = from_bytes(bare.to_bytes()).build()
    logits, labels = logits_of(found, validation)
    accuracy = round(measurement(logits, labels).accuracy, 6)
    origin = origin.model_copy(update={"accuracy": {**origin.accuracy, "validation": accuracy}})
    integers = [part.integers for part in bare.weights.values() if isinstance(part, Quantised)]
    numbers = sum(part.size for part in integers)
    stage = Stage(name=name, bytes=0, density=0, bits=0, accuracy=accuracy)
    whole = replace(
        bare,
        stages=(*before, stage),
        origin=origin,
        confidence=Confidence.calibrated(logits, labels),
        self_check=SelfCheck.of(found, config),
    )
    size = len(whole.to_bytes())
    density = sum(int(np.count_nonzero(part)) for part in integers) / numbers
    stage = stage.model_copy(update={"bytes": size, "density": round(density, 4), "bits": round(8 * size / numbers, 4)})
    return replace(whole, stages=(*before, stage))
