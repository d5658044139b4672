"""From the weights of a compressed network to its whole `.sqz` file: measured, described, and of a known size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from squeezekit.codec.encodings import Array, Quantized
from squeezekit.data.batches import Batch, Batches
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.coded_text import encode_json
from squeezekit.modelfile.none_of_these import MAX_COMPARED, NoneOfThese
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.modelfile.sqz import Sqz, Stage, from_bytes
from squeezekit.networks.graph import GraphNetwork
from squeezekit.networks.resnet import ResNet8Config
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.networks.staged import Staged
from squeezekit.training.measurement import logits_of, measurement
from squeezekit.training.run_folder import Run

# The test accuracy is added to a file in the end. Four digits, coded, take some bytes more or less.
SAMPLE_ACCURACIES = [round(0.0617 * i + 0.0123, 4) for i in range(16)]
SPARE_BYTES = 3
# About what every section but network and weights takes where no file says it; the rule for none of these has a number for each
# pair of classes.
OTHER_SECTIONS_BYTES, BYTES_PER_PAIR = 760, 1.4


@dataclass(frozen=True)
class SqzBuilder:
    """Builds the `.sqz` files of one run.

    `accuracy_before` is the validation accuracy of the run's own network, 0…1; files are measured on the `validation` images,
    which are such or, as `judges` says, training images, on `device`, activation ranges and the rule for none of these on the
    `calibration` batches. With `tested`, room is left for a test accuracy.
    """

    run: Run
    classes: tuple[str, ...]
    accuracy_before: float
    validation: Batches
    calibration: Sequence[Batch]
    device: torch.device
    tested: bool
    judges: str = "validation"

    def build(self, name: str, weights: Mapping[str, Array | Quantized], earlier: tuple[Stage, ...]) -> Sqz:
        """The whole file of `weights`, those of the run's network with its batch normalization folded.

        Its stages are the `earlier` ones and one of this `name`, measured with the weights that a reader will find.
        """
        config = self.run.config.network.folded()
        bare = Sqz(config, self.classes, weights)
        network = from_bytes(bare.to_bytes()).build()
        logits, labels = exact_logits(network, self.validation, self.device)
        accuracy = round(measurement(logits, labels).accuracy, 6)
        file = replace(
            bare,
            provenance=Provenance.of(self.run, {f"{self.judges} before": self.accuracy_before, self.judges: accuracy}),
            probability_calibration=ProbabilityCalibration.fit(logits, labels),
            self_check=SelfCheck.of(network, config),
            activation_ranges=self._ranges(network),
            none_of_these=NoneOfThese.fit(self._calibration_logits(network), logits),
        )
        return self._with_stage(file, name, accuracy, earlier)

    def _ranges(self, network: nn.Module) -> ActivationRanges | None:
        """Those of families that integer inference serves; a network that was made elsewhere may have no convolution."""
        served = isinstance(network, SqueezeNet | Staged | GraphNetwork) or type(self.run.config.network) is ResNet8Config
        if not served or not any(isinstance(module, nn.Conv2d) for module in network.modules()):
            return None
        return ActivationRanges.of(network, self.calibration)

    def estimated_bytes(self, weights: Mapping[str, Array | Quantized], like: Sqz | None = None) -> int:
        """About the size of the file of these weights: they are encoded, other sections are as large as in a file `like` it."""
        bare = self._bare_bytes(weights)
        if like:
            return bare + like.stages[-1].bytes - self._bare_bytes(like.weights)
        pairs = len(self.classes) ** 2 if len(self.classes) <= MAX_COMPARED else 0
        return bare + OTHER_SECTIONS_BYTES + round(BYTES_PER_PAIR * pairs)

    def _bare_bytes(self, weights: Mapping[str, Array | Quantized]) -> int:
        return len(Sqz(self.run.config.network.folded(), self.classes, weights).to_bytes())

    def _calibration_logits(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            logits = torch.cat([network(images.cpu()).float() for images, _labels in self.calibration])
        return logits, torch.cat([labels.cpu() for _images, labels in self.calibration])

    def _with_stage(self, file: Sqz, name: str, accuracy: float, earlier: tuple[Stage, ...]) -> Sqz:
        weights = [part.integers if isinstance(part, Quantized) else part for part in file.weights.values()]
        numbers = sum(part.size for part in weights if part.ndim > 1)
        density = sum(int(np.count_nonzero(part)) for part in weights if part.ndim > 1) / numbers
        stage = Stage(name=name, bytes=0, density=round(density, 4), bits=0, accuracy=accuracy)
        longest, spare = (_with_longest_accuracy(file), SPARE_BYTES) if self.tested else (file, 0)
        # Twice, since the size is part of what is written.
        for _ in range(2):
            size = len(replace(longest, stages=(*earlier, stage)).to_bytes()) + spare
            stage = stage.model_copy(update={"bytes": size, "bits": round(8 * size / numbers, 4)})
        return replace(file, stages=(*earlier, stage))


def _with_longest_accuracy(file: Sqz) -> Sqz:
    """The file with the test accuracy, of some, that takes the most bytes."""
    samples = [file.with_accuracy("test", accuracy) for accuracy in SAMPLE_ACCURACIES]
    return max(samples, key=lambda one: len(encode_json(one.provenance and one.provenance.model_dump(mode="json"))))


def exact_logits(network: nn.Module, images: Batches, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits [n, classes] and labels [n] of a network, in full float32 also on a GPU; the network is on the CPU afterwards."""
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()
    with exact:
        logits, labels = logits_of(network.to(device), images)
    network.cpu()
    return logits, labels
