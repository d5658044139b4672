"""What is compressed: a finished run with its images, and how a smaller network is measured beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from squeezekit.acceleration.folding import folded
from squeezekit.codec.encodings import Array, Quantized
from squeezekit.data.batches import Batch, Batches
from squeezekit.data.image_set import ImageSource
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.modelfile.sqz import Sqz, Stage, from_bytes, write_json
from squeezekit.networks.named_layers import NamedLayers
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.device import chosen_device, chosen_precision
from squeezekit.training.distributed import Processes
from squeezekit.training.loop import Trainer
from squeezekit.training.measurement import images_at_once, logits_of, measurement
from squeezekit.training.optimizers import StepsWeights
from squeezekit.training.recipe import Recipe
from squeezekit.training.run_folder import Run
from squeezekit.training.teacher import teacher_of
from squeezekit.training.train import class_weights_of, fitting_batch_size, images_of

# Calibration images: as many, and of large ones fewer, so that they fit into memory at once.
CALIBRATION_IMAGES, CALIBRATION_PIXELS = 1024, 2**22
BATCH_SIZE = 128
# Four digits, coded, may need some bytes more or less.
SOME_ACCURACIES = [round(0.0617 * i + 0.0123, 4) for i in range(16)]
MORE_BYTES = 3
# Provenance, stages, confidence, ranges of activations and self-check of a file take about so many.
BESIDE_BYTES = 960
# Of a round of training: fewer steps than that only lose.
LEAST_EPOCHS, LEAST_STEPS = 4, 400


class CompressionContext:
    """A run of a network that can be compressed and its images; `before` is its validation accuracy, 0…1.

    Training and measuring are done on `device`, everything else on the CPU. `teacher` is the run whose answers are learnt there,
    by default the same. Raises SqueezekitError for another network, and where the images or the teacher's are not those of the
    run.
    """

    def __init__(self, run: Run, data: str | None = None, *, device: str = "cpu", teacher: Path | None = None) -> None:
        self.run, self.device = run, Processes().device(chosen_device(device))
        self._teacher = teacher_of(teacher, run.config.network, run.data, run.split) if teacher else None
        self.source = self._images(data)
        self.classes = self.source.training.classes
        weights = self.network().state_dict().values()
        self.float_bytes = 4 * sum(tensor.numel() for tensor in weights if tensor.is_floating_point())
        self.validation = self._batches(self.source.training, run.split.validation, device=self.device)
        self.before = round(self._accuracy(self.network(), self.validation), 6)
        self.trained = Stage(name="trained", bytes=self.float_bytes, density=1.0, bits=32.0, accuracy=self.before)

    def network(self) -> NamedLayers:
        """The run's network with its best weights, a new one each time."""
        network = self.run.network()
        if not isinstance(network, NamedLayers):
            name = self.run.config.network.name
            raise SqueezekitError(
                f"{self.run.folder}: holds a '{name}'; compress serves the SqueezeNet family, ResNets, MobileNetV2 and tiniest"
            )
        return network

    @cached_property
    def calibration(self) -> list[Batch]:
        """Some training images of all classes, as they are, in batches of about the same size."""
        count = min(CALIBRATION_IMAGES, max(CALIBRATION_PIXELS // self.run.config.network.image_size**2, 2))
        indices = np.random.default_rng(0).permutation(self.run.split.training)[:count]
        parts = np.array_split(indices, max(len(indices) // BATCH_SIZE, 1))
        return [next(self._batches(self.source.training, part, batch_size=len(part)).in_order()) for part in parts]

    def recipe(self, epochs: int, changes: Mapping[str, Any]) -> Recipe:
        """The run's own, with `changes`, in a precision that this processor computes in."""
        recipe = self.run.config.recipe
        # A run that was trained elsewhere may name one that is slow here.
        precision = chosen_precision("auto" if recipe.precision == "bf16" else recipe.precision, self.device)
        changed: Recipe = recipe.model_copy(update={**changes, "epochs": epochs, "precision": precision})
        return changed

    def epochs_a_round(self) -> int:
        """As many epochs as a round of training needs."""
        images = len(self.run.split.training)
        steps = -(-images // fitting_batch_size(BATCH_SIZE, images))
        return max(LEAST_EPOCHS, -(-LEAST_STEPS // steps))

    def trainer(self, network: nn.Module, optimizer: StepsWeights, recipe: Recipe, *, taught: bool = False) -> Trainer:
        """Training of `network` on the run's training images; with `taught` it learns the answers of the run's own network."""
        images, indices = self.source.training, self.run.split.training
        size = fitting_batch_size(BATCH_SIZE, len(indices))
        options: dict[str, Any] = {"batch_size": size, "device": self.device}
        options |= {"augmentation": recipe.augmentation, "shift": recipe.shift, "cutout": recipe.cutout}
        return Trainer(
            network,
            recipe,
            self._batches(images, indices, **options),
            self.validation,
            seed=self.run.config.run.seed,
            device=self.device,
            class_weights=class_weights_of(recipe, images, indices),
            optimizer=optimizer,
            teacher=(self._teacher or self._itself()) if taught else None,
        )

    def _itself(self) -> NamedLayers:
        """The run's own network, as a teacher: without batch normalization and mirror images, which it is faster without."""
        network = folded(self.network().eval())
        if isinstance(network, SqueezeNet):
            network.config = network.config.model_copy(update={"mirrored": False})
        return network

    def file(self, name: str, weights: Mapping[str, Array | Quantized], before: tuple[Stage, ...]) -> Sqz:
        """The whole file of `weights` of the network without batch normalization.

        Its last stage, of that name, is what a reader finds; `before` are the stages that led here.
        """
        config = self.run.config.network.folded()
        bare = Sqz(config, self.classes, weights)
        found = from_bytes(bare.to_bytes()).build()
        logits, labels = self._logits(found, self.validation)
        accuracy = round(measurement(logits, labels).accuracy, 6)
        filters = [part.integers if isinstance(part, Quantized) else part for part in weights.values() if len(part.shape) > 1]
        numbers = sum(part.size for part in filters)
        density = sum(int(np.count_nonzero(part)) for part in filters) / numbers
        whole = replace(
            bare,
            origin=Provenance.of(self.run, {"validation before": self.before, "validation": accuracy}),
            confidence=ProbabilityCalibration.calibrated(logits, labels),
            self_check=SelfCheck.of(found, config),
            # Only the family is computed in integers.
            ranges=ActivationRanges.of(found, self.calibration) if isinstance(found, SqueezeNet) else None,
        )
        stage = Stage(name=name, bytes=0, density=round(density, 4), bits=0, accuracy=accuracy)
        # Once more, since the size is part of what is written.
        for _ in range(2):
            size = self._final_size(replace(whole, stages=(*before, stage)))
            stage = stage.model_copy(update={"bytes": size, "bits": round(8 * size / numbers, 4)})
        return replace(whole, stages=(*before, stage))

    def size(self, weights: Mapping[str, Array | Quantized]) -> int:
        """Bytes of a file of these weights, about: weights are counted, what is written beside them is guessed."""
        return len(Sqz(self.run.config.network.folded(), self.classes, weights).to_bytes()) + BESIDE_BYTES

    def _final_size(self, file: Sqz) -> int:
        """In bytes, at most: with the longest of some test accuracies that may come to it in the end."""
        if not len(self.source.test):
            return len(file.to_bytes())
        ends = [file.with_accuracy("test", accuracy) for accuracy in SOME_ACCURACIES]
        longest = max(ends, key=lambda end: len(write_json(end.origin and end.origin.model_dump(mode="json"))))
        return len(longest.to_bytes()) + MORE_BYTES

    def test(self, file: Sqz) -> dict[str, float]:
        """Accuracy on the test images of the run's network and of the file's; empty where there are none."""
        if not len(self.source.test):
            return {}
        networks, images = {"before": self.network(), "after": file.build()}, self.test_images
        return {name: self._accuracy(network, images) for name, network in networks.items()}

    @property
    def test_images(self) -> Batches:
        """All of them, in order."""
        return self._batches(self.source.test, device=self.device)

    def _accuracy(self, network: nn.Module, images: Batches) -> float:
        return measurement(*self._logits(network, images)).accuracy

    def _logits(self, network: nn.Module, images: Batches) -> tuple[Tensor, Tensor]:
        """Logits [n, classes] and labels [n], in float32 also on a GPU; the network is on the CPU afterwards."""
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if self.device.type == "cuda" else nullcontext()
        with exact:
            logits, labels = logits_of(network.to(self.device), images)
        network.cpu()
        return logits, labels

    def _images(self, data: str | None) -> ImageSource:
        config = self.run.config
        place = config.run.model_copy(update={"data": data or config.run.data})
        source = images_of(config.model_copy(update={"run": place}))
        if (source.training.fingerprint, source.test.fingerprint) != self.run.fingerprints:
            raise SqueezekitError(f"{source.name}: not the images that {self.run.folder} was trained on; name those with --data")
        return source

    def _batches(self, images: Any, indices: Any = None, **options: Any) -> Batches:
        network, run = self.run.config.network, self.run.config.run
        options = {"batch_size": images_at_once(network.image_size, options.get("device")), **options}
        return Batches(images, indices, mean=network.mean, std=network.std, seed=run.seed, **options)
