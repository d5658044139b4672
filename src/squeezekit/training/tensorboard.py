"""Curves for TensorBoard (R14)."""

from __future__ import annotations

from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from squeezekit.images.batches import Batches
from squeezekit.training.loop import Trainer
from squeezekit.training.measure import logits_of
from squeezekit.training.run_folder import Run


class EventLog:
    """Writes a run's curves, epoch by epoch, under `tensorboard/` in its folder."""

    def __init__(self, run: Run, first_epoch: int) -> None:
        """`first_epoch`: epochs done already; later points of an earlier, broken attempt are dropped."""
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=first_epoch + 1)
        self._config, self._classes = run.config, run.data["classes"]

    def epoch(self, trainer: Trainer) -> None:
        """Losses, accuracies, learning rate, and the norms of weights and of the last gradients."""
        row = trainer.progress.history[-1]
        epoch = int(row["epoch"])
        if epoch == 1:
            self._scalar("loss/untrained", trainer.progress.untrained_loss, 0)
            self._writer.add_images("training images", _as_seen(trainer.training), 0)
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
        logits, labels = logits_of(trainer.network, trainer.validation)
        self._writer.add_figure(
            "confusion of validation images", _confusion(logits, labels, self._classes), len(trainer.progress.history)
        )
        self._writer.close()

    def _scalar(self, name: str, value: float, epoch: int) -> None:
        self._writer.add_scalar(name, value, epoch)


def _as_seen(batches: Batches) -> Tensor:
    """Up to 32 images of the first batch, augmented, stretched to 0…1: [n, c, h, w]."""
    images, _ = next(batches.shuffled(0))
    images = images[:32]
    return ((images - images.min()) / (images.max() - images.min())).cpu()


def _confusion(logits: Tensor, labels: Tensor, classes: list[str]) -> Figure:
    from sklearn.metrics import ConfusionMatrixDisplay  # slow to import

    figure = Figure(figsize=(8, 8), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        labels.cpu().numpy(),
        logits.argmax(1).cpu().numpy(),
        labels=range(len(classes)),
        display_labels=classes,
        ax=figure.subplots(),
        cmap="Blues",
        xticks_rotation="vertical",
        colorbar=False,
    )
    return figure
