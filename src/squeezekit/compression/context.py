"""What every compression method needs: a finished run, its images, and ways to train and measure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squeezekit.acceleration.folding import folded
from squeezekit.compression.candidate import Candidate
from squeezekit.data.batches import Batch, Batches
from squeezekit.data.image_set import ImageSource
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.sqz import Sqz, Stage
from squeezekit.modelfile.sqz_builder import SqzBuilder, exact_logits
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.quantization.qat import fine_tuned, qat_recipe
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.device import chosen_device, chosen_precision
from squeezekit.training.distributed import Processes
from squeezekit.training.loop import Trainer
from squeezekit.training.measurement import images_at_once, measurement
from squeezekit.training.optimizers import StepsWeights, optimizer_for
from squeezekit.training.recipe import Recipe
from squeezekit.training.run_folder import Run
from squeezekit.training.run_images import augmented, class_weights_of, fitting_batch_size, images_of
from squeezekit.training.stored_answers import TeacherAnswers
from squeezekit.training.teacher import teacher_of
from squeezekit.training.time_budget import seconds_of_an_epoch

# Calibration images: so many, and of large ones fewer, so that they fit into memory at once.
CALIBRATION_IMAGES, CALIBRATION_PIXELS = 1024, 2**22
# Steps that are timed, and what a step with quantisation takes beside one without.
TIMED_STEPS, COST_OF_QUANTISATION = 8, 1.15
# Training images that judge, where none validate.
JUDGING_IMAGES = 5000
# Fewer images than these judge by their loss.
FEW_IMAGES = 2000
BATCH_SIZE = 128
Judges = Literal["validation", "training"]
# Of a round of training: with fewer steps accuracy is only lost.
MIN_EPOCHS, MIN_STEPS = 4, 400


class CompressionContext:
    """A finished run with its images; `accuracy_before` is its validation accuracy, 0…1, `float_bytes` its size in float32.

    Of a run that no image validated, some training images take the place of `validation` ones: `judges` says which.
    Training and measuring are done on `device`, everything else on the CPU. `teacher` is the run whose answers are learnt in
    training, by default `run` itself. Raises SqueezekitError for a network that cannot be compressed, and where the images or
    those of the teacher are not the ones that the run was trained on.
    """

    def __init__(self, run: Run, data: str | None = None, *, device: str = "cpu", teacher: Path | None = None) -> None:
        self.run, self.device = run, Processes().device(chosen_device(device))
        self._teacher = teacher_of(teacher, run.config.network, run.data, run.split) if teacher else None
        own = run.config.run
        self._config = run.config.model_copy(update={"run": own.model_copy(update={"data": data or own.data})})
        self.source = self._images()
        weights = self.network().state_dict().values()
        self.float_bytes = 4 * sum(tensor.numel() for tensor in weights if tensor.is_floating_point())
        self.split = run.split_of(len(self.source.training))
        self.judges: Judges = "validation" if len(self.split.validation) else "training"
        self.validation = self._batches(self.source.training, self._judging(), device=self.device)
        self.accuracy_before = round(self.accuracy(self.network()), 6)
        self._losses = dict[str, float]()
        self.trained = Stage(name="trained", bytes=self.float_bytes, density=1.0, bits=32.0, accuracy=self.accuracy_before)

    def network(self) -> nn.Module:
        """A new copy of the run's network with its best weights, on the CPU."""
        return self.run.network()

    @cached_property
    def calibration(self) -> list[Batch]:
        """Some training images of all classes, not augmented, in batches of about the same size."""
        count = min(CALIBRATION_IMAGES, max(CALIBRATION_PIXELS // self.run.config.network.image_size**2, 2))
        indices = np.random.default_rng(0).permutation(self.split.training)[:count]
        parts = np.array_split(indices, max(len(indices) // BATCH_SIZE, 1))
        return [next(self._batches(self.source.training, part, batch_size=len(part)).in_order()) for part in parts]

    @cached_property
    def builder(self) -> SqzBuilder:
        """Makes the `.sqz` files of this run."""
        return SqzBuilder(
            self.run,
            self.source.training.classes,
            self.accuracy_before,
            self.validation,
            self.calibration,
            self.device,
            tested=len(self.source.test) > 0,
            judges=self.judges,
        )

    def recipe(self, epochs: int, changes: Mapping[str, Any]) -> Recipe:
        """The run's own recipe with `changes` and so many epochs, in a precision that this processor computes in."""
        recipe = self.run.config.recipe
        # A run that was trained elsewhere may name a precision that is slow here.
        precision = chosen_precision("auto" if recipe.precision == "bf16" else recipe.precision, self.device)
        # Averaged weights would lie on no grid.
        changes = {"averaging": 0.0, **changes, "epochs": epochs, "precision": precision}
        changed: Recipe = recipe.model_copy(update=changes)
        return changed

    def epochs_per_round(self) -> int:
        """How many epochs a round of training needs."""
        return epochs_of_a_round(len(self.split.training), self.run.config.recipe)

    def seconds_of_an_epoch(self) -> float:
        """About how long an epoch of a round takes, by a few steps without quantisation."""
        network = self.network().to(self.device)
        recipe = self.recipe(1, qat_recipe(self.run.config.recipe, network))
        trainer = self.trainer(network, optimizer_for(network, recipe), recipe, distilled=True)
        return COST_OF_QUANTISATION * seconds_of_an_epoch(trainer, steps=TIMED_STEPS)

    def trainer(self, network: nn.Module, optimizer: StepsWeights, recipe: Recipe, *, distilled: bool = False) -> Trainer:
        """Trains `network` on the run's training images; with `distilled` on the teacher's answers instead of the labels.

        Those of another network than the run's own are kept in the cache, and found there if a training has asked it before.
        """
        images, indices = self.source.training, self.split.training
        size = fitting_batch_size(batch_size_of_a_round(self.run.config.recipe), len(indices))
        shown, options = augmented(self._config, recipe, images)
        options |= {"batch_size": size, "device": self.device, "shift_step": recipe.shift_step or 1}
        training = self._batches(shown, indices, **options)
        # As in training: on a GPU a teacher is quick, and crops are too many to keep answers.
        kept = distilled and self._teacher is not None and training.crops is None and self.device.type != "cuda"
        return Trainer(
            network,
            recipe,
            training,
            self.validation,
            seed=self.run.config.run.seed,
            device=self.device,
            class_weights=class_weights_of(recipe, images, indices),
            optimizer=optimizer,
            teacher=(self._teacher or self._own_network_as_teacher()) if distilled and not kept else None,
            answers=TeacherAnswers.kept(self._teacher, training, images, recipe.precision) if kept and self._teacher else None,
            acceleration=self.run.config.run.acceleration,
            deterministic=self.run.config.run.deterministic,
        )

    def test_accuracies(self, file: Sqz) -> tuple[float, float] | None:
        """The accuracy on the test images of the run's network and of the file's; None where there are none."""
        if not len(self.source.test):
            return None
        return self.accuracy(self.network(), self.test_images), self.accuracy(file.build(), self.test_images)

    @property
    def test_images(self) -> Batches:
        """All test images, in order."""
        return self._batches(self.source.test, device=self.device)

    def _own_network_as_teacher(self) -> nn.Module:
        """The run's network without batch normalization and mirror images, which makes it faster."""
        network = folded(self.network().eval())
        if isinstance(network, SqueezeNet):
            network.config = network.config.model_copy(update={"mirrored": False})
        return network

    def accuracy(self, network: nn.Module, images: Batches | None = None) -> float:
        """The accuracy of a network, 0…1, on `images`, by default those that judge; the network is on the CPU afterwards."""
        return measurement(*exact_logits(network, images or self.validation, self.device)).accuracy

    @property
    def few_judge(self) -> bool:
        """Whether the accuracy of the images that judge is too coarse: one of 500 is 0.2 points."""
        return len(self.validation) < FEW_IMAGES

    def loss_of(self, candidate: Candidate) -> float:
        """The cross-entropy of a candidate, in nats, on the images that judge, at the temperature at which it is least."""
        if candidate.name not in self._losses:
            self._losses[candidate.name] = self.loss(candidate.file.build())
        return self._losses[candidate.name]

    def loss(self, network: nn.Module) -> float:
        """That of a network, which is on the CPU afterwards."""
        logits, labels = exact_logits(network, self.validation, self.device)
        return measurement(logits / ProbabilityCalibration.fit(logits, labels).temperature, labels).loss

    @cached_property
    def loss_before(self) -> float:
        """That of the run's network."""
        return self.loss(self.network())

    def _judging(self) -> NDArray[np.int64]:
        """Indices of the images that judge."""
        if self.judges == "validation":
            return self.split.validation
        return np.sort(np.random.default_rng(0).permutation(self.split.training)[:JUDGING_IMAGES])

    def _images(self) -> ImageSource:
        source = images_of(self._config)
        if (source.training.fingerprint, source.test.fingerprint) != self.run.fingerprints:
            raise SqueezekitError(f"{source.name}: not the images that {self.run.folder} was trained on; name those with --data")
        return source

    def _batches(self, images: Any, indices: Any = None, **options: Any) -> Batches:
        network, run = self.run.config.network, self.run.config.run
        options = {"batch_size": images_at_once(network.image_size, options.get("device")), **options}
        return Batches(images, indices, mean=network.mean, std=network.std, seed=run.seed, **options)


def batch_size_of_a_round(trained: Recipe) -> int:
    """Images a step, of a network that a recipe has trained: a fine-tuned one goes on in the batches of its fine-tuning."""
    return trained.batch_size if fine_tuned(trained) else BATCH_SIZE


def epochs_of_a_round(images: int, trained: Recipe) -> int:
    """How many epochs a round of training on so many images needs, of a network that a recipe has trained."""
    steps = -(-images // fitting_batch_size(batch_size_of_a_round(trained), images))
    return max(MIN_EPOCHS, -(-MIN_STEPS // steps))
