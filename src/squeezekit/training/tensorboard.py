"""Curves for TensorBoard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from squeezekit.data.batches import Batches
from squeezekit.system.console import say
from squeezekit.training.callbacks import Callback, Training
from squeezekit.training.measurement import Measurement
from squeezekit.training.run_folder import Run


class TensorBoard(Callback):
    """Writes a run's curves, epoch by epoch, under `tensorboard/` in its folder, until the `with` block ends.

    `first_epoch` is how many epochs are done already; later points of an earlier, broken attempt are dropped. Of several
    processes only one `writes`. Curves that cannot be written are given up, in one line, and training goes on.
    """

    def __init__(self, run: Run, *, first_epoch: int, writes: bool = True) -> None:
        self._folder, self._config, self._first, self._writes = run.folder / "tensorboard", run.config, first_epoch + 1, writes
        self._writer: SummaryWriter | None = None
        self._hook = threading.excepthook

    def __enter__(self) -> Self:
        threading.excepthook = self._unless_of_the_writer
        with self._given_up_at_errors():
            self._writer = SummaryWriter(str(self._folder), purge_step=self._first) if self._writes else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._given_up_at_errors():
            if self._writer:
                self._writer.close()
        threading.excepthook = self._hook

    def on_epoch_end(self, trainer: Training) -> None:
        """Losses, accuracies, learning rate, and the norms of weights and of the last gradients."""
        with self._given_up_at_errors():
            self._write_epoch(trainer)

    def results(self, trainer: Training, test: Measurement | None) -> None:
        """Hyperparameters with final figures."""
        with self._given_up_at_errors():
            self._write_results(trainer, test)

    def _write_epoch(self, trainer: Training) -> None:
        if self._writer is None:
            return
        row = trainer.progress.history[-1]
        epoch = int(row["epoch"])
        if epoch == 1:
            self._writer.add_scalar("loss/untrained", trainer.progress.untrained_loss, 0)
            self._writer.add_images("training images", _as_seen(trainer.training), 0)
        for part in ("training", "validation"):
            for what in ("loss", "accuracy"):
                if part == "training" or len(trainer.validation):
                    self._writer.add_scalar(f"{what}/{part}", row[f"{part}_{what}"], epoch)
        self._writer.add_scalar("learning rate", row["learning_rate"], epoch)
        weights = {name: parameter.detach() for name, parameter in trainer.network.named_parameters()}
        gradients = {name: p.grad for name, p in trainer.network.named_parameters() if p.grad is not None}
        for what, tensors in (("weight", weights), ("gradient", gradients)):
            for name, norm in _norms(tensors).items():
                self._writer.add_scalar(f"{what} norm/{name}", norm, epoch)
        self._writer.flush()

    def _write_results(self, trainer: Training, test: Measurement | None) -> None:
        if self._writer is None:
            return
        stopping = trainer.early_stopping
        # No epoch was better than the fitted last layer.
        start = {"validation_loss": stopping.best}
        best = trainer.progress.history[stopping.best_epoch - 1] if stopping.best_epoch else start
        fields = {**self._config.network.model_dump(mode="json"), **self._config.recipe.model_dump(mode="json")}
        plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in fields.items()}
        part = "validation" if len(trainer.validation) else "training"
        metrics = {f"best/{name}": best[name] for name in (f"{part}_loss", f"{part}_accuracy") if name in best}
        if test:
            metrics |= {"test/loss": test.loss, "test/accuracy": test.accuracy}
        self._writer.add_hparams(plain, metrics, run_name=".")

    @contextmanager
    def _given_up_at_errors(self) -> Iterator[None]:
        try:
            yield
        # Whatever it is, it is not worth a training.
        except Exception as error:
            self._writer = None
            say(f"{self._folder}: TensorBoard's curves are not written any more ({error}); training goes on")

    def _unless_of_the_writer(self, arguments: threading.ExceptHookArgs) -> None:
        # TensorBoard's thread hands its error on and raises it once more by itself.
        if not type(arguments.thread).__module__.startswith("tensorboard."):
            self._hook(arguments)


def _norms(tensors: dict[str, Tensor]) -> dict[str, float]:
    """All at once, so that a GPU is waited for once."""
    if not tensors:
        return {}
    return dict(zip(tensors, torch.stack(torch._foreach_norm(list(tensors.values()))).tolist(), strict=True))


def _as_seen(batches: Batches) -> Tensor:
    """Up to 32 images of the first batch, augmented, stretched to 0…1: [n, c, h, w]."""
    images, _ = next(batches.shuffled(0))
    images = images[:32]
    return ((images - images.min()) / (images.max() - images.min())).cpu()
