"""One training from images to a finished run folder."""

from __future__ import annotations

import os
import shlex
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.data.batches import Batches, channel_statistics
from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.sources import Data, data_name, load_images, settled
from squeezekit.data.splits import Split, split_training
from squeezekit.networks.weights import load_weights, take_weights
from squeezekit.system.console import progress_bar, say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.seeds import derived_seed
from squeezekit.training import launch
from squeezekit.training.checkpointing import Saving
from squeezekit.training.device import chosen_device, chosen_precision, keep_freed_memory
from squeezekit.training.distributed import Processes, joined
from squeezekit.training.interruption import Interrupted, not_learning, stop_requests
from squeezekit.training.loop import WEIGHTS, Progress, Trainer
from squeezekit.training.measurement import images_at_once, logits_of, measure, measurement
from squeezekit.training.recipe import Recipe
from squeezekit.training.resuming import resumed
from squeezekit.training.run_folder import Run
from squeezekit.training.settings import RunConfig, build_config, config_from, read_tables, resolve
from squeezekit.training.starting_point import Pretrained
from squeezekit.training.summary import summarise
from squeezekit.training.teacher import teacher_of
from squeezekit.training.tensorboard import EventLog

# Of those to train on, from which the statistics of a network to start from are taken.
STATISTICS_IMAGES, STATISTICS_PIXELS = 512, 2**19


def train(
    data: Data | None = None,
    *,
    network: str | None = None,
    recipe: str | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    pretrained: Pretrained | None = None,
    **fields: Any,
) -> Run:
    """Train a network and return its finished run.

    `network` (default `squeezenet-cifar`) and `recipe` (default `modern`) are presets; any field of `SqueezeNetConfig`,
    `Recipe` or `RunSettings` can be given by its name: `train("digits", squeeze_ratio=0.25, epochs=10)`. `config` is
    a TOML file with tables [network], [recipe] and [run]; fields win over it. `out` is the run folder, which must not
    exist unless `resume` is set; then a missing one is started, a finished one returned as it is. `on_epoch` is told of every
    epoch's row of `metrics.csv` when it is saved; what it raises ends the training. `pretrained` is a network to go on from
    (`fine_tune` takes a MODEL).

    Under torchrun, its processes train one network together, with the weights that one process would get, up to
    rounding; `batch_size` is that of all of them. Every process returns the run, the first one writes it.

    Raises SqueezekitError for wrong input, RunFailed for a diverged run, Interrupted after Ctrl-C.
    """
    if data is not None:
        fields["data"] = data_name(data)
    with joined() as processes:
        run, source = _led(
            processes,
            lambda: _open(
                Path(out).expanduser() if out else None,
                resume=resume,
                network=network,
                recipe=recipe,
                config=Path(config).expanduser() if config else None,
                fields=fields,
                pretrained=pretrained,
            ),
        )
        if run.summary is None:
            try:
                _finish(run, source or images_of(run.config), processes, on_epoch)
            except KeyboardInterrupt:
                raise Interrupted(f"stopped; go on with: {_resume_command(run)}") from None
    return run


def _led(processes: Processes, make: Callable[[], tuple[Run, ImageSource | None]]) -> tuple[Run, ImageSource | None]:
    """What the first process makes; the others are told which run it is, and read the images themselves."""
    if not processes.first:
        told = processes.broadcast_text("")
        if not told:
            raise SqueezekitError("stopped, for the reason that the first process gives")
        folder, _, text = told.partition("\n")
        run = Run(Path(folder))
        # Not as on disk: where images lie may be given anew.
        run.config = config_from(tomllib.loads(text), run.folder)
        return run, None
    try:
        run, source = make()
    except BaseException:
        processes.broadcast_text("")
        raise
    processes.broadcast_text(f"{run.folder.absolute()}\n{run.config.to_toml()}")
    return run, source


def _open(
    out: Path | None,
    *,
    resume: bool,
    network: str | None,
    recipe: str | None,
    config: Path | None,
    fields: dict[str, Any],
    pretrained: Pretrained | None,
) -> tuple[Run, ImageSource | None]:
    """The run to train, new or taken up, with its images where they had to be read."""
    if not out and (resume or launch.attempt() > 0):
        asking = "--resume" if resume else "torchrun's --max-restarts"
        raise SqueezekitError(f"{asking} needs --out DIR, the run to go on with")
    folder = out or _new_folder()
    if folder.exists() and not resume and not _was_begun_by_this_launch(folder):
        raise SqueezekitError(f"{folder}: exists already; choose another --out, or go on with --resume")
    if (folder / "config.toml").exists():
        if pretrained and (begun := Run(folder).data.get("start")) != pretrained.name:
            raise SqueezekitError(f"{folder} was begun from {begun or 'random weights'}, not {pretrained.name}; start a new run")
        return resumed(folder, network=network, recipe=recipe, config=config, fields=fields), None
    _check_can_be_made(folder)
    if pretrained:
        if config and set(read_tables(config)["network"]) - {"name"}:
            raise SqueezekitError(f"{config}: its [network] cannot change {pretrained.name}; leave the table out")
        if network and network != pretrained.network:
            raise SqueezekitError(f"what to go on from is a '{pretrained.network}', not a '{network}'; leave out --network")
        network, fields = pretrained.network, {**pretrained.fields, **fields}
    return start_run(folder, *resolve(network=network, recipe=recipe, config=config, fields=fields), pretrained=pretrained)


def _was_begun_by_this_launch(folder: Path) -> bool:
    """Whether torchrun has started these processes anew after a failure, and the run is theirs."""
    return launch.attempt() > 0 and (folder / "config.toml").exists() and Run(folder).data.get("launch") == launch.launch()


def start_run(
    folder: Path, network: dict[str, Any], recipe: dict[str, Any], run: dict[str, Any], *, pretrained: Pretrained | None = None
) -> tuple[Run, ImageSource]:
    """Settle what depends on the images and the machine, and make the run folder; raises SqueezekitError."""
    for field in ("data", "weights", "teacher"):
        if run.get(field):
            run[field] = settled(run[field])
    draft = build_config(network, recipe, run)
    size, channels = draft.network.image_size, network.get("channels")
    source = load_images(draft.run.data, image_size=size, channels=channels, strict=draft.run.strict)
    images = source.training
    classes = len(images.classes)
    if network.get("classes", classes) != classes:
        raise SqueezekitError(f"{draft.run.data} holds {classes} classes, not {network['classes']}; leave out --classes")
    network |= {"classes": classes, "channels": images.channels, "image_size": images.image_size}
    if network.get("mirrored") and not images.mirrorable:
        # A mirrored digit is another sign.
        say("answers are not averaged with those for mirror images, which these images do not have")
        network["mirrored"] = False
    split = split_training(
        images.labels,
        classes=images.classes,
        seed=draft.run.seed,
        validation_share=draft.run.validation_share,
        limit=draft.run.limit or None,
        folds=draft.run.folds,
        fold=draft.run.fold,
    )
    if draft.recipe.normalization == "standardise" and not {"mean", "std"} & set(network):
        network["mean"], network["std"] = channel_statistics(images, split.training)
    run["device"] = str(chosen_device(draft.run.device))
    recipe["precision"] = chosen_precision(draft.recipe.precision, torch.device(run["device"]))
    facts = {
        "source": draft.run.data,
        "classes": list(images.classes),
        "fingerprint": images.fingerprint,
        "test_fingerprint": source.test.fingerprint,
        "unreadable": list(source.unreadable),
        "launch": launch.launch(),
    }
    config = build_config(network, recipe, run)
    if pretrained:
        if config.run.weights:
            raise SqueezekitError("a network and a file of weights to go on from are both given; leave out one of them")
        facts["start"] = pretrained.name
    if config.run.weights:
        # Here too, so that weights which do not fit are found before a folder is made.
        load_weights(config.network.build(), Path(config.run.weights))
    if config.run.teacher:
        teacher_of(Path(config.run.teacher), config.network, facts, split)
        facts["teacher"] = Run(Path(config.run.teacher)).weights_digest()
    elif config.recipe.temperature != 1:
        raise SqueezekitError("--temperature is that of a teacher's answers; name one with --teacher")
    weights = None if pretrained is None else _weights_of(pretrained, config, source, split)
    return Run.create(folder, config, facts, split, weights), source


def _weights_of(pretrained: Pretrained, config: RunConfig, source: ImageSource, split: Split) -> dict[str, Tensor]:
    """Of a network that fits, and has not learnt the images that validate; raises SqueezekitError."""
    network, images = config.network, source.training
    unseen = pretrained.validation(images, (images.fingerprint, source.test.fingerprint))
    if unseen is not None and np.setdiff1d(split.validation, unseen).size:
        raise SqueezekitError(
            f"{pretrained.name}: may have learnt images that validate this run; give its own --seed and --validation-share"
        )
    count = min(STATISTICS_IMAGES, max(STATISTICS_PIXELS // network.image_size**2, 2))
    some = np.random.default_rng(0).permutation(split.training)[:count]
    batches = Batches(images, some, batch_size=len(some), mean=network.mean, std=network.std)
    weights = pretrained.weights(network, next(batches.in_order())[0])
    # Before a folder is made.
    take_weights(network.build(), weights, pretrained.name)
    return weights


def _finish(run: Run, source: ImageSource, processes: Processes, on_epoch: Callable[[dict[str, float]], None] | None) -> None:
    """Train to the end, or go on from the last checkpoint; then measure once and write the summary."""
    config = run.config
    if run.fingerprints != (source.training.fingerprint, source.test.fingerprint):
        raise SqueezekitError(f"{config.run.data}: the images have changed since {run.folder} began; start a new run")
    keep_freed_memory()
    trainer = trainer_of(run, source.training, processes)
    with _determinism(config.run.deterministic), _events(run, trainer) as events:
        _train(run, trainer, events, on_epoch)
        # The others read what the first has written.
        processes.wait()
        network = run.network().to(trainer.device)
        validation = logits_of(network, trainer.validation)
        test = measure(network, _batches(config, source.test, processes)) if config.run.test else None
        if events:
            events.results(trainer, *validation, test)
            run.write_summary(summarise(run, network, trainer, measurement(*validation), test))
    processes.wait()


@contextmanager
def _events(run: Run, trainer: Trainer) -> Iterator[EventLog | None]:
    """None in all processes but the first, which alone writes."""
    if not trainer.processes.first:
        yield None
        return
    with closing(EventLog(run, first_epoch=trainer.progress.epoch)) as events:
        yield events


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    before, tried = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if wanted:
        # What cuBLAS asks for.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted or before)
    # On a GPU, convolutions are tried out and the fastest kept.
    torch.backends.cudnn.benchmark = not (wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = tried


def trainer_of(run: Run, images: ImageSet, processes: Processes) -> Trainer:
    """A run's training as far as it has come."""
    config, split, recipe = run.config, run.split, run.config.recipe
    size = fitting_batch_size(recipe.batch_size, len(split.training))
    if size < processes.count:
        raise SqueezekitError(f"{processes.count} processes are too many for batches of {size} images; start fewer")
    if size < recipe.batch_size:
        say(f"batch size {size} instead of {recipe.batch_size}, so that an epoch has at least eight steps")
    options = {"batch_size": size, "augmentation": recipe.augmentation, "shift": recipe.shift, "cutout": recipe.cutout}
    training = _batches(config, images, processes, split.training, **options)
    device = processes.device(torch.device(config.run.device))
    teacher = teacher_of(Path(config.run.teacher), config.network, run.data, split) if config.run.teacher else None
    torch.manual_seed(derived_seed(config.run.seed, WEIGHTS))
    trainer = Trainer(
        config.network.build(),
        recipe,
        training,
        _batches(config, images, processes, split.validation),
        seed=config.run.seed,
        device=device,
        class_weights=class_weights_of(recipe, images, split.training),
        processes=processes,
        teacher=teacher,
        fused=config.run.fused,
    )
    state = run.checkpoint()
    if state is not None:
        trainer.restore(state)
    elif place := run.start_weights:
        fresh = load_weights(trainer.network, place)
        if fresh:
            say(f"fresh, because the number of classes differs: {', '.join(fresh)}")
    return trainer


def _train(run: Run, trainer: Trainer, events: EventLog | None, on_epoch: Callable[[dict[str, float]], None] | None) -> None:
    progress, saving = trainer.progress, Saving(run, trainer, always=on_epoch is not None)
    if trainer.finished:
        saving.save()
    with stop_requests() as stop:
        if progress.epoch == progress.step == 0:
            progress.untrained_loss = trainer.measure().loss
        while not trainer.finished:
            title = f"epoch {progress.epoch + 1}/{trainer.recipe.epochs}"
            with progress_bar(title, trainer.training.steps, done=progress.step) as advance:

                def on_step(progress: Progress, rate: float) -> bool:
                    advance(1, _note(progress))
                    return stop.is_set()

                whole = trainer.train_epoch(on_step)
            if whole:
                row = progress.history[-1]
                say(_line(row, trainer.recipe.epochs, trainer.stopping.improved))
                # A teacher's answers may themselves be nearly even.
                taught = bool(run.config.run.teacher)
                if not taught and (warning := not_learning(row["training_loss"], run.config.network.classes)):
                    say(f"warning: {warning}")
                if events:
                    events.epoch(trainer)
            stopped = not whole or (not trainer.finished and trainer.processes.any(stop.is_set()))
            if stopped or trainer.finished or saving.due:
                saving.save()
            if whole and on_epoch:
                on_epoch(progress.history[-1])
            if stopped:
                # The others must not end before the first has saved.
                trainer.processes.wait()
                place = f"epoch {progress.epoch}, step {progress.step}"
                raise Interrupted(f"stopped after {place}; go on with: {_resume_command(run)}")


def _note(progress: Progress) -> str:
    if not progress.images:
        return ""
    return (
        f"loss {progress.loss_sum / progress.images:.4f} · accuracy {progress.right / progress.images:.1%} · "
        f"{progress.images / progress.step_seconds:.0f} images/s"
    )


def _line(row: dict[str, float], epochs: int, improved: bool) -> str:
    return (
        f"epoch {row['epoch']:.0f}/{epochs}  training loss {row['training_loss']:.4f} accuracy "
        f"{row['training_accuracy']:.1%}  validation loss {row['validation_loss']:.4f} accuracy "
        f"{row['validation_accuracy']:.1%}  rate {row['learning_rate']:.2g}  {row['images_per_s']:.0f} images/s"
        + ("  best so far" if improved else "")
    )


def _batches(config: RunConfig, images: ImageSet, processes: Processes, indices: Any = None, **options: Any) -> Batches:
    network, device = config.network, processes.device(torch.device(config.run.device))
    options = {"batch_size": images_at_once(network.image_size, device), "mean": network.mean, "std": network.std, **options}
    return Batches(images, indices, seed=config.run.seed, device=device, rank=processes.rank, ranks=processes.count, **options)


def images_of(config: RunConfig) -> ImageSource:
    """The images that a configuration names; raises SqueezekitError."""
    network = config.network
    return load_images(config.run.data, image_size=network.image_size, channels=network.channels, strict=config.run.strict)


def class_weights_of(recipe: Recipe, images: ImageSet, indices: NDArray[np.int64]) -> Tensor | None:
    """What the recipe weighs the classes of these images by: float [classes], or None."""
    if recipe.class_weights == "none":
        return None
    counts = np.bincount(images.labels[indices], minlength=len(images.classes))
    return torch.from_numpy(len(indices) / (len(counts) * counts)).float()


def fitting_batch_size(wanted: int, images: int) -> int:
    """At most the wanted size, halved until an epoch has at least eight steps."""
    while wanted > 1 and images <= 7 * wanted:
        wanted //= 2
    return wanted


def _new_folder() -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / stamp


def _check_can_be_made(folder: Path) -> None:
    """Before hours of work: whether there is a place for the run folder."""
    nearest = next(place for place in folder.absolute().parents if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise SqueezekitError(f"{folder}: cannot be made, since {nearest} is not a folder to write in; choose another --out")


def _resume_command(run: Run) -> str:
    return shlex.join(["squeezekit", "train", "--resume", "--out", str(run.folder)])
