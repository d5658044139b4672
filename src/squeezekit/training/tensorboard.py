"""Curves for TensorBoard (R14)."""

from __future__ import annotations

from torch.utils.tensorboard import SummaryWriter

from squeezekit.training.loop import Trainer
from squeezekit.training.run_folder import Run


class EventLog:
    """Writes a run's curves, epoch by epoch, under `tensorboard/` in its folder."""

    def __init__(self, run: Run, first_epoch: int) -> None:
        """`first_epoch`: epochs done already; later points of an earlier, broken attempt are dropped."""
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=first_epoch + 1)
        self._config = run.config

    def epoch(self, trainer: Trainer) -> None:
        """Losses, accuracies, learning rate, and the norms of weights and of the last gradients."""
        row = trainer.progress.history[-1]
        epoch = int(row["epoch"])
        if epoch == 1:
            self._scalar("loss/untrained", trainer.progress.untrained_loss, 0)
        for part in ("training", "validation"):
            for what in ("loss", "accuracy"):
                self._scalar(f"{what}/{part}", row[f"{part}_{what}"], epoch)
        self._scalar("learning rate", row["learning_rate"], epoch)
        for name, parameter in trainer.network.named_parameters():
            self._scalar(f"weight norm/{name}", float(parameter.detach().norm()), epoch)
            if parameter.grad is not None:
                self._scalar(f"gradient norm/{name}", float(parameter.grad.norm()), epoch)
        self._writer.flush()

    def close(self, trainer: Trainer) -> None:
        """Hyperparameters with the best validation figures, and the end of the file."""
        best = min(trainer.progress.history, key=lambda row: row["validation_loss"])
        fields = {**self._config.network.model_dump(mode="json"), **self._config.recipe.model_dump(mode="json")}
        plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in fields.items()}
        metrics = {f"best/{name}": best[name] for name in ("validation_loss", "validation_accuracy")}
        self._writer.add_hparams(plain, metrics, run_name=".")
        self._writer.close()

    def _scalar(self, name: str, value: float, epoch: int) -> None:
        self._writer.add_scalar(name, value, epoch)
