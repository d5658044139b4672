"""One training from images to a finished run folder."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from squeezekit.data.image_set import ImageSource
from squeezekit.data.overview import overview
from squeezekit.data.sources import data_name
from squeezekit.data.unlabelled import UnlabelledPhotos
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.folder_claim import claimed, claimed_by_date, holds_files
from squeezekit.system.paths import expanded
from squeezekit.training.callbacks import (
    Callback,
    Checkpoint,
    EpochFunction,
    EpochReport,
    ProgressBar,
    StagnationWarning,
    StopRequests,
)
from squeezekit.training.device import keep_freed_memory
from squeezekit.training.distributed import Processes, attempt, joined, launch_name, process_count
from squeezekit.training.fine_tuning import StartingPoint
from squeezekit.training.interruption import Interrupted
from squeezekit.training.loop import Trainer
from squeezekit.training.measurement import measure
from squeezekit.training.run_folder import RUNS, Run, check_can_be_made, remove_leftovers, resumed, summarised
from squeezekit.training.run_images import class_counts, images_of, unlabelled_of
from squeezekit.training.settings import DEFAULT_RECIPE, RECIPE_OF_TRAINED, config_from, data_of, read_tables, resolve
from squeezekit.training.start import LoadsTeacher, OpenedRun, batches_of, name_of, start_run, teacher_named, trainer_of
from squeezekit.training.tensorboard import TensorBoard


@dataclass(frozen=True)
class TrainingRequest:
    """What a user asks `train` for, beside the folder."""

    network: str | None
    recipe: str | None
    config: Path | None
    fields: Mapping[str, Any]
    init_from: StartingPoint | Path | None
    load_teacher: LoadsTeacher | None = None
    minutes: float | None = None


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
    minutes: float | None = None,
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
        asked = TrainingRequest(network, recipe, expanded(config) if config else None, fields, init_from, load_teacher, minutes)
        opened = _led(processes, lambda: _open(expanded(out) if out else None, asked, held, resume=resume))
        run = opened.run
        if run.summary is not None:
            return run
        with _resumable(run), _determinism(run.config.run.deterministic):
            source = _same_images(run, opened.source or images_of(run.config))
            split = run.split_of(len(source.training))
            if processes.first:
                for line in overview(source, split):
                    say(line)
            keep_freed_memory()
            teacher = opened.teacher or teacher_named(
                run.config, run.data, split, source.training, load_teacher, run.teacher_head
            )
            photos = opened.unlabelled or _same_photos(run, unlabelled_of(run.config, split))
            trainer = trainer_of(run, source.training, processes, network=opened.network, teacher=teacher, unlabelled=photos)
            if trainer.progress.epoch == trainer.progress.step == 0:
                _measure_start(run, trainer)
            with TensorBoard(run, first_epoch=trainer.progress.epoch, writes=processes.first) as log:
                trainer.fit(_callbacks(run, trainer, log, on_epoch))
                if not trainer.finished:
                    place = f"epoch {trainer.progress.epoch}, step {trainer.progress.step}"
                    raise Interrupted(f"stopped after {place}; go on with: {run.resume_command}")
                _finish(run, trainer, source, log)
    return run


def _measure_start(run: Run, trainer: Trainer) -> None:
    """What training begins with; trained weights with a last layer that knows the classes are kept until an epoch is better."""
    begin = trainer.measure()
    trainer.progress.untrained_loss = begin.loss
    if not (run.config.recipe.head_first and run.start_weights and len(trainer.validation)):
        return
    trainer.early_stopping.begin(begin.loss)
    trainer.keep_best()
    if trainer.processes.first:
        run.save_checkpoint(trainer.state(), trainer.progress.history, trainer.best)
        say(f"before the first epoch: validation accuracy {begin.accuracy:.1%}; {run.folder} can be used from now on")


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
    test = measure(network, batches_of(config, source.test, processes)) if config.run.test else None
    if processes.first:
        log.results(trainer, test)
        summary = summarised(
            run,
            progress=trainer.progress,
            best_epoch=trainer.early_stopping.best_epoch,
            parameters=sum(p.numel() for p in network.parameters()),
            class_images=class_counts(source.training, run.split.training).tolist(),
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
    name, start = name_of(asked.init_from), asked.init_from
    if (folder / "config.toml").exists():
        if name and (begun := Run(folder).data.get("start")) != name:
            raise SqueezekitError(f"{folder} was begun from {begun or 'random weights'}, not {name}; start a new run")
        return OpenedRun(resumed(folder, network=asked.network, recipe=asked.recipe, config=asked.config, fields=asked.fields))
    # Images in memory have no name.
    if resume and data_of(asked.fields, asked.config) is None and not asked.fields.get("data"):
        raise SqueezekitError(f"{folder}: is no run to go on with; choose one that is, or give --data to start it")
    network, fields = asked.network, dict(asked.fields)
    if isinstance(start, StartingPoint):
        if asked.config and set(read_tables(asked.config)["network"]) - {"name"}:
            raise SqueezekitError(f"{asked.config}: its [network] cannot change {name}; leave the table out")
        if network and network != start.config.name:
            raise SqueezekitError(f"{name} is a '{start.config.name}', not a '{network}'; leave out --network")
        by_default = start.gentle_fields if asked.recipe in (None, RECIPE_OF_TRAINED) and not asked.config else {}
        network, fields = start.config.name, {**start.fields, **by_default, **fields}
    _check_minutes(asked)
    default = RECIPE_OF_TRAINED if start else DEFAULT_RECIPE
    settings = resolve(network=network, recipe=asked.recipe, config=asked.config, fields=fields, default_recipe=default)
    return start_run(folder, *settings, init_from=start, load_teacher=asked.load_teacher, minutes=asked.minutes)


def _check_minutes(asked: TrainingRequest) -> None:
    """Whether the epochs may follow from a time; raises SqueezekitError."""
    if asked.minutes is None:
        return
    if not 0 < asked.minutes < math.inf:
        raise SqueezekitError(f"--minutes {asked.minutes:g}: give more than 0")
    in_file = read_tables(asked.config)["recipe"] if asked.config else {}
    if "epochs" in asked.fields or "epochs" in in_file:
        raise SqueezekitError("--minutes chooses the epochs; leave out --epochs, or --minutes")
    if process_count() > 1:
        raise SqueezekitError("--minutes is for one process; give --epochs to several")


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


def _was_begun_by_this_launch(folder: Path) -> bool:
    """Whether torchrun has started these processes anew after a failure, and the run is theirs."""
    return attempt() > 0 and (folder / "config.toml").exists() and Run(folder).data.get("launch") == launch_name()


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


def _same_photos(run: Run, photos: UnlabelledPhotos | None) -> UnlabelledPhotos | None:
    if photos and run.data.get("unlabelled") != photos.images.fingerprint:
        raise SqueezekitError(f"{run.config.run.unlabelled}: the photos have changed since {run.folder} began; start a new run")
    return photos


def _same_images(run: Run, source: ImageSource) -> ImageSource:
    if run.fingerprints != (source.training.fingerprint, source.test.fingerprint):
        raise SqueezekitError(f"{run.config.run.data}: the images have changed since {run.folder} began; start a new run")
    return source
