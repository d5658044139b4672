"""From a trained run to the smallest `.sqz` file that keeps its promise."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from squeezekit.compression.candidate import candidate
from squeezekit.compression.folding import convolutions
from squeezekit.compression.origin import Origin
from squeezekit.compression.promise import Promise
from squeezekit.compression.quantised_training import GridOptimizer, GridWeight
from squeezekit.compression.sqz import Sqz, Stage
from squeezekit.compression.workshop import Round, Workshop
from squeezekit.errors import SqueezekitError
from squeezekit.images.batches import Batches
from squeezekit.images.image_set import ImageSource
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.screen import progress_bar, say
from squeezekit.training.loop import Progress, Trainer
from squeezekit.training.machine import keep_freed_memory
from squeezekit.training.measure import images_at_once, measure
from squeezekit.training.run_folder import Run
from squeezekit.training.train import fitting_batch_size, images_of
from squeezekit.training.watch import Interrupted, stop_requests

# Steps of the grids that rounding alone tries, in standard deviations of a layer's weights.
ROUNDINGS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.2)
# The grid that training begins with: pressure makes it coarser where that costs least.
FIRST_STEP = 1.0
BATCH_SIZE = 128
# What training on a grid changes of the run's own recipe.
RETRAINING: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "one-cycle",
    "warmup": 0.05,
    "patience": 0,
    "label_smoothing": 0.0,
}


@dataclass(frozen=True)
class Compressed:
    """A finished compression: the file, whether it keeps its promise, and accuracies 0…1 before and after.

    `ratio` is by how much the file is smaller than the run's weights in float32.
    """

    file: str
    kept: bool
    bytes: int
    ratio: float
    validation: dict[str, float]
    test: dict[str, float]
    stages: list[dict[str, Any]]
    seconds: float


def compress(
    run: str | Path,
    out: str | Path,
    *,
    max_drop: float | None = None,
    max_bytes: int | None = None,
    epochs: int = 4,
    minutes: float = 0,
    data: str | Path | None = None,
    resume: bool = False,
) -> Compressed:
    """Compress a trained run to the `.sqz` file `out`.

    The promise is at most `max_drop` points of validation accuracy lost (0.5 unless `max_bytes` is given), at most `max_bytes`
    bytes, or both. First weights are only rounded. Then rounds of `epochs` epochs train them on their grid, each under more
    pressure to be cheap, until one goes too far; after `minutes`, if given, no new round begins. The best file is written in any
    case. Training images train, validation images choose, test images are measured once, at the end.

    What has been done is kept beside `out` until the end; `resume` goes on with it. Raises SqueezekitError for wrong input,
    Interrupted after Ctrl-C.
    """
    trained, out = Run(Path(run).expanduser()), Path(out).expanduser()
    if max_drop is None and max_bytes is None:
        max_drop = 0.5
    if epochs < 1:
        raise SqueezekitError(f"--epochs {epochs}: give at least 1")
    settings = {"max_drop": max_drop, "max_bytes": max_bytes, "epochs": epochs}
    task = _Task(trained, str(data) if data else None, epochs)
    promise = Promise(task.before, max_drop, max_bytes)
    workshop = Workshop.open(out, {"run": task.fingerprint, **settings}, resume=resume)
    keep_freed_memory()
    begin = time.monotonic() - workshop.seconds
    if not workshop.rounded:
        workshop.keep_rounded(list(task.roundings()))
    while (following := promise.next_pressure([(r.pressure, r.file.stages[-1]) for r in workshop.rounds])) is not None:
        if minutes and time.monotonic() - begin > 60 * minutes:
            say(f"{minutes:g} minutes are over: no further round")
            break
        task.press(*following, workshop, begin)
    files = [*workshop.rounded, *(r.file for r in workshop.rounds)]
    return _handed_out(task, promise, files, out, workshop, time.monotonic() - begin)


def _handed_out(task: _Task, promise: Promise, files: list[Sqz], out: Path, workshop: Workshop, seconds: float) -> Compressed:
    chosen = files[promise.best([file.stages[-1] for file in files])]
    test = task.test(chosen)
    assert chosen.origin is not None
    accuracy = {**chosen.origin.accuracy, **({"test": test["after"]} if test else {})}
    size = replace(chosen, origin=chosen.origin.model_copy(update={"accuracy": accuracy})).write(out)
    workshop.clear()
    last = chosen.stages[-1]
    return Compressed(
        file=str(out),
        # The file itself: the test accuracy has come to it.
        kept=promise.kept(last.model_copy(update={"bytes": size})),
        bytes=size,
        ratio=round(task.float_bytes / size, 2),
        validation={"before": task.before, "after": last.accuracy},
        test=test,
        stages=[stage.model_dump() for stage in chosen.stages],
        seconds=round(seconds, 1),
    )


class _Task:
    """A run with its images, and the ways to make it smaller."""

    def __init__(self, run: Run, data: str | None, epochs: int) -> None:
        self.run, self.epochs = run, epochs
        config = run.config
        network = run.network()
        if not isinstance(network, SqueezeNet):
            raise SqueezekitError(f"{run.folder}: holds a '{config.network.name}'; compress serves the SqueezeNet family")
        self.source = self._images(data)
        self.classes = self.source.training.classes
        self.float_bytes = 4 * sum(tensor.numel() for tensor in network.state_dict().values() if tensor.is_floating_point())
        self.validation = self._batches(self.source.training, run.split.validation)
        self.before = round(measure(network, self.validation).accuracy, 6)
        self.origin = Origin.of(run, {"validation before": self.before})
        self.first = Stage(name="trained", bytes=self.float_bytes, density=1.0, bits=32.0, accuracy=self.before)
        say(f"trained: {self.float_bytes:,} bytes, validation accuracy {self.before:.2%}")

    @property
    def fingerprint(self) -> str:
        """Of the run's weights."""
        return hashlib.sha256((self.run.folder / "best.safetensors").read_bytes()).hexdigest()

    def roundings(self) -> Iterator[Sqz]:
        """Files of rounded weights, each on a coarser grid."""
        with progress_bar("rounding", len(ROUNDINGS)) as advance:
            for step in ROUNDINGS:
                network = self._network()
                found = self._candidate(f"rounded to {step:g} deviations", network, _grids(network, step), (self.first,))
                advance(1)
                say(_line(found.stages[-1], self.before))
                yield found

    def press(self, pressure: float, start: int, workshop: Workshop, begin: float) -> None:
        """One round of training on the grid, taken up where it stopped; ends in the workshop."""
        network = self._network()
        grids = _grids(network, FIRST_STEP)
        trainer, optimizer = self._trainer(network, grids, pressure)
        before: tuple[Stage, ...] = (self.first,)
        if start >= 0:
            earlier = workshop.rounds[start]
            earlier.take_up(trainer, grids)
            before = earlier.file.stages
        if (state := workshop.checkpoint(pressure)) is not None:
            trainer.restore(state)
        number = len(workshop.rounds) + 1
        with stop_requests() as stop:
            while not trainer.finished:
                title = f"round {number}, epoch {trainer.progress.epoch + 1}/{self.epochs}"
                with progress_bar(title, trainer.training.steps, done=trainer.progress.step) as advance:

                    def on_step(progress: Progress, rate: float) -> bool:
                        advance(1, f"{progress.right / max(progress.images, 1):.1%}")
                        return stop.is_set()

                    whole = trainer.train_epoch(on_step)
                if whole:
                    row = trainer.progress.history[-1]
                    bits = optimizer.bits()
                    say(f"{title}: validation accuracy {row['validation_accuracy']:.2%}, about {bits:.2f} bits a weight")
                workshop.keep_checkpoint(pressure, trainer.state(), time.monotonic() - begin)
                if not whole or stop.is_set():
                    raise Interrupted(f"stopped in round {number}; go on with the same command and --resume")
        found = self._candidate(f"trained under pressure {pressure:.3g}", network, grids, before)
        workshop.keep_round(Round(pressure, found, trainer.state()), time.monotonic() - begin)
        say(_line(found.stages[-1], self.before))

    def test(self, file: Sqz) -> dict[str, float]:
        """Accuracy on the test images of the run's network and of the file's."""
        if not len(self.source.test):
            return {}
        images = self._batches(self.source.test)
        return {"before": measure(self.run.network(), images).accuracy, "after": measure(file.build(), images).accuracy}

    def _network(self) -> SqueezeNet:
        network = self.run.network()
        assert isinstance(network, SqueezeNet)
        return network

    def _candidate(self, name: str, network: SqueezeNet, grids: list[GridWeight], before: tuple[Stage, ...]) -> Sqz:
        return candidate(name, network.eval(), grids, self.classes, self.validation, self.origin, before)

    def _trainer(self, network: SqueezeNet, grids: list[GridWeight], pressure: float) -> tuple[Trainer, GridOptimizer]:
        recipe = self.run.config.recipe.model_copy(update={**RETRAINING, "epochs": self.epochs})
        size = fitting_batch_size(BATCH_SIZE, len(self.run.split.training))
        training = self._batches(
            self.source.training,
            self.run.split.training,
            batch_size=size,
            augmentation=recipe.augmentation,
            shift=recipe.shift,
        )
        inner = torch.optim.SGD(network.parameters(), recipe.learning_rate, recipe.momentum, nesterov=True)
        optimizer = GridOptimizer(inner, grids, pressure)
        trainer = Trainer(
            network,
            recipe,
            training,
            self.validation,
            seed=self.run.config.run.seed,
            device=torch.device("cpu"),
            optimizer=optimizer,
        )
        return trainer, optimizer

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


def _grids(network: SqueezeNet, deviations: float) -> list[GridWeight]:
    """Every convolution's weights on a grid whose step is that many of their standard deviations."""
    weights = [convolution.module.weight for convolution in convolutions(network)]
    return [GridWeight.of(weight, deviations * float(weight.detach().std(correction=0))) for weight in weights]


def _line(stage: Stage, before: float) -> str:
    return (
        f"{stage.name}: {stage.bytes:,} bytes, {stage.density:.0%} not zero, {stage.bits:.2f} bits a weight, "
        f"validation accuracy {stage.accuracy:.2%} ({100 * (stage.accuracy - before):+.2f} points)"
    )
