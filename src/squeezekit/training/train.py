"""One training from images to a finished run folder."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squeezekit.data.batches import Batches, channel_statistics
from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.overview import check_copies, check_different, overview
from squeezekit.data.sources import data_name, load_images, settled
from squeezekit.data.splits import Split, split_images
from squeezekit.data.views import step_of_about_50_views
from squeezekit.networks.staged import Staged
from squeezekit.networks.weights import read_weights, take_weights
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.folder_claim import claimed, claimed_by_date, holds_files
from squeezekit.system.paths import expanded
from squeezekit.system.seeds import derived_seed
from squeezekit.system.shown_text import shown
from squeezekit.training.callbacks import (
    Callback,
    Checkpoint,
    EpochFunction,
    EpochReport,
    ProgressBar,
    StagnationWarning,
    StopRequests,
)
from squeezekit.training.device import chosen_device, chosen_precision, keep_freed_memory
from squeezekit.training.distributed import Processes, attempt, joined, launch_name
from squeezekit.training.fine_tuning import StartingPoint, some_images
from squeezekit.training.interruption import Interrupted
from squeezekit.training.loop import WEIGHTS, Trainer
from squeezekit.training.measurement import images_at_once, measure
from squeezekit.training.recipe import Recipe
from squeezekit.training.run_folder import RUNS, Run, check_can_be_made, remove_leftovers, resumed, summarised
from squeezekit.training.settings import RunConfig, build_config, config_from, data_of, read_tables, resolve
from squeezekit.training.stored_answers import TeacherAnswers
from squeezekit.training.teacher import Teacher, teacher_from, teacher_of
from squeezekit.training.tensorboard import TensorBoard

# Reads a MODEL that is a file, which this room cannot.
LoadsTeacher = Callable[[str], StartingPoint]


@dataclass(frozen=True)
class TrainingRequest:
    """What a user asks `train` for, beside the folder."""

    network: str | None
    recipe: str | None
    config: Path | None
    fields: Mapping[str, Any]
    init_from: StartingPoint | Path | None
    load_teacher: LoadsTeacher | None = None


@dataclass(frozen=True)
class OpenedRun:
    """A run to train, with what had to be read to begin it; None for what is still to be read."""

    run: Run
    source: ImageSource | None = None
    network: nn.Module | None = None
    teacher: Teacher | None = None


def train(
    data: Any = None,
    *,
    network: str | None = None,
    recipe: str | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], object] | None = None,
    init_from: StartingPoint | str | Path | None = None,
    load_teacher: LoadsTeacher | None = None,
    **fields: Any,
) -> Run:
    """Train a network and return its finished run: `workflows.train.train`, which says what each argument is.

    Here `init_from` is a `StartingPoint` or the path of a `.safetensors` or `.pth` file, and a teacher is a run folder, or a file
    that `load_teacher` reads. Raises SqueezekitError for wrong input, Diverged (a RunFailed) when the loss is no number any more,
    Interrupted after Ctrl-C.
    """
    if isinstance(init_from, str | Path):
        init_from = expanded(init_from)
    with joined() as processes, ExitStack() as held:
        if data is not None:
            fields["data"] = data_name(data)
        asked = TrainingRequest(network, recipe, expanded(config) if config else None, fields, init_from, load_teacher)
        opened = _led(processes, lambda: _open(expanded(out) if out else None, asked, held, resume=resume))
        run = opened.run
        if run.summary is not None:
            return run
        with _resumable(run), _determinism(run.config.run.deterministic):
            source = _same_images(run, opened.source or images_of(run.config))
            if processes.first:
                for line in overview(source, run.split_of(len(source.training))):
                    say(line)
            keep_freed_memory()
            teacher = opened.teacher or teacher_named(
                run.config, run.data, run.split_of(len(source.training)), source.training, load_teacher
            )
            trainer = trainer_of(run, source.training, processes, network=opened.network, teacher=teacher)
            if trainer.progress.epoch == trainer.progress.step == 0:
                trainer.progress.untrained_loss = trainer.measure().loss
            with TensorBoard(run, first_epoch=trainer.progress.epoch, writes=processes.first) as log:
                trainer.fit(_callbacks(run, trainer, log, on_epoch))
                if not trainer.finished:
                    place = f"epoch {trainer.progress.epoch}, step {trainer.progress.step}"
                    raise Interrupted(f"stopped after {place}; go on with: {run.resume_command}")
                _finish(run, trainer, source, log)
    return run


def _callbacks(
    run: Run, trainer: Trainer, log: TensorBoard, on_epoch: Callable[[dict[str, float]], object] | None
) -> list[Callback]:
    """In the order in which they are called: a row is on disk before `on_epoch` sees it."""

    def save() -> None:
        run.save_checkpoint(trainer.state(), trainer.progress.history, trainer.best)

    saved_always = on_epoch is not None or trainer.device.type == "cpu"
    found: list[Callback] = [ProgressBar(), EpochReport(), log, Checkpoint(save, always=saved_always), StopRequests()]
    if not run.config.run.teacher:
        # A teacher's answers may themselves be nearly even.
        found.insert(2, StagnationWarning(run.config.network.classes))
    return [*found, EpochFunction(on_epoch)] if on_epoch else found


def _finish(run: Run, trainer: Trainer, source: ImageSource, log: TensorBoard) -> None:
    """Measure the best weights once, and write the summary."""
    processes, config = trainer.processes, run.config
    # The others read what the first has written.
    processes.wait()
    network = run.network().to(trainer.device)
    validation = measure(network, trainer.validation) if len(trainer.validation) else None
    test = measure(network, _batches(config, source.test, processes)) if config.run.test else None
    if processes.first:
        log.results(trainer, test)
        summary = summarised(
            run,
            progress=trainer.progress,
            best_epoch=trainer.early_stopping.best_epoch,
            parameters=sum(p.numel() for p in network.parameters()),
            class_images=_counts(source.training, run.split.training).tolist(),
            validation=validation,
            test=test,
        )
        run.write_summary(summary)
    processes.wait()


def _led(processes: Processes, make: Callable[[], OpenedRun]) -> OpenedRun:
    """What the first process makes; it broadcasts which run that is, and the others read the rest themselves."""
    if not processes.first:
        received = processes.broadcast_text("")
        if not received:
            raise SqueezekitError("stopped, for the reason that the first process gives")
        folder, _, text = received.partition("\0")
        run = Run(Path(folder))
        # Not as on disk: where images lie may be given anew.
        run.config = config_from(tomllib.loads(text), run.folder)
        return OpenedRun(run)
    try:
        opened = make()
    except BaseException:
        processes.broadcast_text("")
        raise
    processes.broadcast_text(f"{opened.run.folder.absolute()}\0{opened.run.config.to_toml()}")
    return opened


def _open(out: Path | None, asked: TrainingRequest, held: ExitStack, *, resume: bool) -> OpenedRun:
    """The run to train, new or resumed, whose folder is this process's until `held` closes; raises SqueezekitError."""
    folder = _folder(out, asked, held, resume=resume)
    name, start = _name_of(asked.init_from), asked.init_from
    if (folder / "config.toml").exists():
        if name and (begun := Run(folder).data.get("start")) != name:
            raise SqueezekitError(f"{folder} was begun from {begun or 'random weights'}, not {name}; start a new run")
        return OpenedRun(resumed(folder, network=asked.network, recipe=asked.recipe, config=asked.config, fields=asked.fields))
    network, fields = asked.network, dict(asked.fields)
    if isinstance(start, StartingPoint):
        if asked.config and set(read_tables(asked.config)["network"]) - {"name"}:
            raise SqueezekitError(f"{asked.config}: its [network] cannot change {name}; leave the table out")
        if network and network != start.config.name:
            raise SqueezekitError(f"{name} is a '{start.config.name}', not a '{network}'; leave out --network")
        network, fields = start.config.name, {**start.fields, **fields}
    settings = resolve(network=network, recipe=asked.recipe, config=asked.config, fields=fields)
    return start_run(folder, *settings, init_from=start, load_teacher=asked.load_teacher)


def _folder(out: Path | None, asked: TrainingRequest, held: ExitStack, *, resume: bool) -> Path:
    """The folder of a new run, or of one to go on with, held unless its run is finished; raises SqueezekitError."""
    if not out and (resume or attempt() > 0):
        asking = "--resume" if resume else "torchrun's --max-restarts"
        raise SqueezekitError(f"{asking} needs --out DIR, the run to go on with")
    if out is None or not (out / "config.toml").exists():
        check_can_be_made(out or RUNS, data_of(asked.fields, asked.config))
    if out is None:
        return held.enter_context(claimed_by_date(RUNS))
    _check_free(out, resume=resume)
    if not (out / "summary.json").exists():
        held.enter_context(claimed(out))
        # Somebody may have been faster.
        _check_free(out, resume=resume)
        remove_leftovers(out)
    return out


def _check_free(folder: Path, *, resume: bool) -> None:
    if folder.exists() and holds_files(folder) and not resume and not _was_begun_by_this_launch(folder):
        raise SqueezekitError(f"{folder}: exists already; choose another --out, or go on with --resume")


def _name_of(init_from: StartingPoint | Path | None) -> str | None:
    """What a run folder calls the weights that training started from."""
    return str(init_from.absolute()) if isinstance(init_from, Path) else init_from.name if init_from else None


def _was_begun_by_this_launch(folder: Path) -> bool:
    """Whether torchrun has started these processes anew after a failure, and the run is theirs."""
    return attempt() > 0 and (folder / "config.toml").exists() and Run(folder).data.get("launch") == launch_name()


def start_run(
    folder: Path,
    network: dict[str, Any],
    recipe: dict[str, Any],
    run: dict[str, Any],
    *,
    init_from: StartingPoint | Path | None = None,
    load_teacher: LoadsTeacher | None = None,
) -> OpenedRun:
    """Decide what depends on the images and the machine, and make the run folder; raises SqueezekitError."""
    for field in ("data", "teacher"):
        if run.get(field):
            run[field] = settled(run[field])
    draft = build_config(network, recipe, run)
    source, split = images_to_train(draft, network.get("channels"))
    _check_that_it_ends(draft.recipe, split)
    _fit_to_images(network, source.training, draft.run.data)
    if draft.recipe.normalization == "standardise" and not {"mean", "std"} & set(network):
        network["mean"], network["std"] = channel_statistics(source.training, split.training)
    if draft.run.teacher and not draft.recipe.shift_step:
        # So few views that it answers each of them once, and later epochs read the answers.
        recipe["shift_step"] = step_of_about_50_views(round(draft.recipe.shift * source.training.image_size))
    run["device"] = str(chosen_device(draft.run.device))
    recipe["precision"] = chosen_precision(draft.recipe.precision, torch.device(run["device"]))
    config = build_config(network, recipe, run)
    facts = _facts(config, source)
    weights, name = _weights_to_start_from(init_from, config, source, split), _name_of(init_from)
    built = _initial(config, source.training, split, weights, name)
    if name:
        facts["start"] = name
    if teacher := teacher_named(config, facts, split, source.training, load_teacher):
        facts["teacher"] = teacher.digest
    elif config.recipe.temperature != 1:
        raise SqueezekitError("--temperature is that of a teacher's answers; name one with --teacher")
    return OpenedRun(Run.create(folder, config, facts, split, weights), source, built, teacher)


def teacher_named(
    config: RunConfig, facts: dict[str, Any], split: Split, images: ImageSet, load: LoadsTeacher | None = None
) -> Teacher | None:
    """The teacher that a configuration names, if any: a run folder, or a file that `load` reads; raises SqueezekitError."""
    if not config.run.teacher:
        return None
    path = Path(config.run.teacher)
    if load and path.is_file():
        return teacher_from(load(config.run.teacher), config.network, facts, split, images)
    return teacher_of(path, config.network, facts, split)


def _fit_to_images(network: dict[str, Any], images: ImageSet, data: str) -> None:
    """Let the fields of a network say how many classes the images have, and how they look."""
    classes = len(images.classes)
    if network.get("classes", classes) != classes:
        raise SqueezekitError(f"{data} holds {classes} classes, not {network['classes']}; leave out --classes")
    network |= {"classes": classes, "channels": images.channels, "image_size": images.image_size}
    if network.get("mirrored") and not images.mirrorable:
        # A mirrored digit is another sign.
        say("answers are not averaged with those for mirror images, which these images do not have")
        network["mirrored"] = False


def images_to_train(config: RunConfig, channels: int | None) -> tuple[ImageSource, Split]:
    """The images that a configuration names, and which of them train and validate; `channels` None are those of the images.

    Raises SqueezekitError where they cannot be read, are all the same or too few, or with `strict` where one is in two parts.
    """
    run = config.run
    source = load_images(
        run.data, image_size=config.network.image_size, channels=channels, strict=run.strict, max_pixels=run.max_pixels
    )
    check_different(source)
    split = split_images(
        source.training,
        seed=run.seed,
        validation_share=run.validation_share,
        limit=run.limit or None,
        folds=run.folds,
        fold=run.fold,
    )
    if run.strict:
        check_copies(source, split)
    return source, split


def _check_that_it_ends(recipe: Recipe, split: Split) -> None:
    """Whether the recipe needs images that validate and has none; raises SqueezekitError."""
    if not len(split.validation) and (recipe.patience or recipe.schedule == "plateau"):
        raise SqueezekitError(
            f"recipe '{recipe.name}' stops or lowers its rate by validation, for which --validation-share 0 leaves no image; "
            "give --patience 0 and --schedule cosine, or another --recipe"
        )


def _facts(config: RunConfig, source: ImageSource) -> dict[str, Any]:
    """The content of `data.json`."""
    return {
        "source": config.run.data,
        "classes": list(source.training.classes),
        "fingerprint": source.training.fingerprint,
        "test_fingerprint": source.test.fingerprint,
        "unreadable": [shown(path) for path in source.unreadable],
        "launch": launch_name(),
    }


def _weights_to_start_from(
    init_from: StartingPoint | Path | None, config: RunConfig, source: ImageSource, split: Split
) -> dict[str, Tensor] | None:
    if isinstance(init_from, StartingPoint):
        return init_from.weights(config.network, source, split)
    return read_weights(init_from) if init_from else None


def _initial(
    config: RunConfig, images: ImageSet, split: Split, weights: Mapping[str, Tensor] | None, name: str | Path | None
) -> nn.Module:
    """The network before its first step; raises SqueezekitError where weights to start from do not fit."""
    torch.manual_seed(derived_seed(config.run.seed, WEIGHTS))
    network = config.network.build()
    if weights is None and isinstance(network, Staged):
        network.whiten(some_images(config.network, images, split))
    if weights is not None and (fresh := take_weights(network, weights, str(name))):
        say(f"fresh, because the number of classes differs: {', '.join(fresh)}")
    return network


def trainer_of(
    run: Run, images: ImageSet, processes: Processes, *, network: nn.Module | None = None, teacher: Teacher | None = None
) -> Trainer:
    """A run's training as far as it has come; its network is read from the run where it is not given, a `teacher` never is."""
    config, split, recipe = run.config, run.split_of(len(images)), run.config.recipe
    size = fitting_batch_size(recipe.batch_size, len(split.training))
    if size < processes.count:
        raise SqueezekitError(f"{processes.count} processes are too many for batches of {size} images; start fewer")
    if size < recipe.batch_size:
        say(f"batch size {size} instead of {recipe.batch_size}, so that an epoch has at least eight steps")
    options = {"batch_size": size, "augmentation": recipe.augmentation, "shift": recipe.shift, "cutout": recipe.cutout}
    options["shift_step"] = recipe.shift_step or 1
    state = run.checkpoint()
    if network is None:
        start = None if state else run.start_weights
        network = _initial(config, images, split, read_weights(start) if start else None, start)
    training = _batches(config, images, processes, split.training, **options)
    device = processes.device(torch.device(config.run.device))
    # On a GPU its answers are part of the recorded step.
    live = device.type == "cuda"
    trainer = Trainer(
        network,
        recipe,
        training,
        _batches(config, images, processes, split.validation),
        seed=config.run.seed,
        device=device,
        class_weights=class_weights_of(recipe, images, split.training),
        processes=processes,
        teacher=teacher if live else None,
        answers=None if live or teacher is None else TeacherAnswers.kept(teacher, training, images, recipe.precision),
        fused=config.run.fused,
        acceleration=config.run.acceleration,
        deterministic=config.run.deterministic,
    )
    if state is not None:
        trainer.restore(state, run.folder / "last.pt")
    return trainer


@contextmanager
def _resumable(run: Run) -> Iterator[None]:
    """A second Ctrl-C, or one outside of the steps: Interrupted, with the command that resumes."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; go on with: {run.resume_command}") from None


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    before, tried = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    if wanted:
        # What cuBLAS asks for.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # What use_deterministic_algorithms does, without importing torch's compiler, which takes two seconds.
        torch.set_deterministic_debug_mode("error")
    # On a GPU, convolutions are tried out and the fastest kept.
    torch.backends.cudnn.benchmark = not (wanted or before)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        torch.backends.cudnn.benchmark = tried


def _same_images(run: Run, source: ImageSource) -> ImageSource:
    if run.fingerprints != (source.training.fingerprint, source.test.fingerprint):
        raise SqueezekitError(f"{run.config.run.data}: the images have changed since {run.folder} began; start a new run")
    return source


def _batches(config: RunConfig, images: ImageSet, processes: Processes, indices: Any = None, **options: Any) -> Batches:
    network, device = config.network, processes.device(torch.device(config.run.device))
    options = {"batch_size": images_at_once(network.image_size, device), "mean": network.mean, "std": network.std, **options}
    return Batches(images, indices, seed=config.run.seed, device=device, rank=processes.rank, ranks=processes.count, **options)


def images_of(config: RunConfig) -> ImageSource:
    """The images that a configuration names; raises SqueezekitError."""
    network, run = config.network, config.run
    return load_images(
        run.data,
        image_size=network.image_size,
        channels=network.channels,
        strict=run.strict,
        max_pixels=run.max_pixels,
    )


def class_weights_of(recipe: Recipe, images: ImageSet, indices: NDArray[np.int64]) -> Tensor | None:
    """What the recipe weighs the classes of these images by: float [classes], or None."""
    if recipe.class_weights == "none":
        return None
    counts = _counts(images, indices)
    return torch.from_numpy(len(indices) / (len(counts) * counts)).float()


def _counts(images: ImageSet, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(images.labels[indices], minlength=len(images.classes))


def fitting_batch_size(wanted: int, images: int) -> int:
    """At most the wanted size, halved until an epoch has at least eight steps."""
    while wanted > 1 and images <= 7 * wanted:
        wanted //= 2
    return wanted
