"""What is compressed: a finished run with its images, and how a smaller network is measured beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from squeezekit.compression.confidence import Confidence
from squeezekit.compression.folding import folded
from squeezekit.compression.forms import Array, Quantised
from squeezekit.compression.origin import Origin
from squeezekit.compression.self_check import SelfCheck
from squeezekit.compression.sqz import Sqz, Stage, from_bytes
from squeezekit.errors import SqueezekitError
from squeezekit.images.batches import Batch, Batches
from squeezekit.images.image_set import ImageSource
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.training.loop import Trainer
from squeezekit.training.machine import chosen_precision
from squeezekit.training.measure import images_at_once, logits_of, measure, measurement
from squeezekit.training.optimizers import StepsWeights
from squeezekit.training.recipe import Recipe
from squeezekit.training.run_folder import Run
from squeezekit.training.train import fitting_batch_size, images_of

CALIBRATION_IMAGES = 1024
BATCH_SIZE = 128


class Subject:
    """A run of the SqueezeNet family and its images; `before` is its validation accuracy, 0…1.

    Raises SqueezekitError for another family, and where the images are not those of the run.
    """

    def __init__(self, run: Run, data: str | None = None) -> None:
        self.run = run
        self.source = self._images(data)
        self.classes = self.source.training.classes
        weights = self.network().state_dict().values()
        self.float_bytes = 4 * sum(tensor.numel() for tensor in weights if tensor.is_floating_point())
        self.validation = self._batches(self.source.training, run.split.validation)
        self.before = round(measure(self.network(), self.validation).accuracy, 6)
        self.trained = Stage(name="trained", bytes=self.float_bytes, density=1.0, bits=32.0, accuracy=self.before)

    @property
    def fingerprint(self) -> str:
        """Of the run's weights."""
        return hashlib.sha256((self.run.folder / "best.safetensors").read_bytes()).hexdigest()

    def network(self) -> SqueezeNet:
        """The run's network with its best weights, a new one each time."""
        network = self.run.network()
        if not isinstance(network, SqueezeNet):
            name = self.run.config.network.name
            raise SqueezekitError(f"{self.run.folder}: holds a '{name}'; compress serves the SqueezeNet family")
        return network

    @cached_property
    def calibration(self) -> list[Batch]:
        """Some training images of all classes, as they are."""
        indices = np.random.default_rng(0).permutation(self.run.split.training)[:CALIBRATION_IMAGES]
        return list(self._batches(self.source.training, indices).in_order())

    def trainer(
        self, network: nn.Module, optimizer: StepsWeights, epochs: int, changes: Mapping[str, Any], *, taught: bool = False
    ) -> Trainer:
        """Training of `network` on the run's training images, by the run's recipe with `changes`.

        With `taught` it learns the answers of the run's own network.
        """
        recipe: Recipe = self.run.config.recipe.model_copy(update={**changes, "epochs": epochs})
        device = torch.device("cpu")
        recipe = recipe.model_copy(update={"precision": chosen_precision(recipe.precision, device)})
        training = self._batches(
            self.source.training,
            self.run.split.training,
            batch_size=fitting_batch_size(BATCH_SIZE, len(self.run.split.training)),
            augmentation=recipe.augmentation,
            shift=recipe.shift,
        )
        seed = self.run.config.run.seed
        # A network in use needs no batch normalisation, and is faster without.
        teacher = folded(self.network().eval()).eval().to(memory_format=torch.channels_last) if taught else None  # type: ignore[call-overload]
        return Trainer(network, recipe, training, self.validation, seed=seed, device=device, optimizer=optimizer, teacher=teacher)

    def file(self, name: str, weights: Mapping[str, Array | Quantised], before: tuple[Stage, ...]) -> Sqz:
        """The whole file of `weights` of the network without batch normalisation.

        Its last stage, of that name, is what a reader finds; `before` are the stages that led here.
        """
        config = self.run.config.network.model_copy(update={"batch_norm": False})
        bare = Sqz(config, self.classes, weights)
        found = from_bytes(bare.to_bytes()).build()
        logits, labels = logits_of(found, self.validation)
        accuracy = round(measurement(logits, labels).accuracy, 6)
        filters = [part.integers if isinstance(part, Quantised) else part for part in weights.values()]
        filters = [part for part in filters if part.ndim > 1]
        numbers = sum(part.size for part in filters)
        density = sum(int(np.count_nonzero(part)) for part in filters) / numbers
        stage = Stage(name=name, bytes=0, density=round(density, 4), bits=0, accuracy=accuracy)
        whole = replace(
            bare,
            stages=(*before, stage),
            origin=Origin.of(self.run, {"validation before": self.before, "validation": accuracy}),
            confidence=Confidence.calibrated(logits, labels),
            self_check=SelfCheck.of(found, config),
        )
        size = len(whole.to_bytes())
        return replace(whole, stages=(*before, stage.model_copy(update={"bytes": size, "bits": round(8 * size / numbers, 4)})))

    def test(self, file: Sqz) -> dict[str, float]:
        """Accuracy on the test images of the run's network and of the file's; empty where there are none."""
        if not len(self.source.test):
            return {}
        images = self.test_images
        return {"before": measure(self.network(), images).accuracy, "after": measure(file.build(), images).accuracy}

    @property
    def test_images(self) -> Batches:
        """All of them, in order."""
        return self._batches(self.source.test)

    def _images(self, data: str | None) -> ImageSource:
        config = self.run.config
        place = config.run.model_copy(update={"data": data or config.run.data})
        source = images_of(config.model_copy(update={"run": place}))
        if (source.training.fingerprint, source.test.fingerprint) != self.run.fingerprints:
            raise SqueezekitError(f"{source.name}: not the images that {self.run.folder} was trained on; name those with --data")
        return source

    def _batches(self, images: Any, indices: Any = None, **options: Any) -> Batches:
        network, run = self.run.config.network, self.run.config.run
        options = {"batch_size": images_at_once(network.image_size), **options}
        return Batches(images, indices, mean=network.mean, std=network.std, seed=run.seed, **options)
