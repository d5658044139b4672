"""How a run begins, or goes on: what depends on the images and the machine is decided, network and trainer are made."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from squeezekit.data.batches import Batches, channel_statistics
from squeezekit.data.curation import folder_of_labels
from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.mixed_batches import MixedBatches, unlabelled_in
from squeezekit.data.sources import settled
from squeezekit.data.splits import Split
from squeezekit.data.unlabelled import UnlabelledPhotos
from squeezekit.data.views import step_of_about_50_views
from squeezekit.networks.staged import Staged
from squeezekit.networks.weights import read_weights, take_weights
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import anchored
from squeezekit.system.seeds import derived_seed
from squeezekit.system.shown_text import shown
from squeezekit.training.device import chosen_device, chosen_precision
from squeezekit.training.distributed import Processes, launch_name
from squeezekit.training.fine_tuning import MOST_EPOCHS, StartingPoint, some_images
from squeezekit.training.head import fit_head
from squeezekit.training.loop import WEIGHTS, Trainer
from squeezekit.training.measurement import images_at_once, measure
from squeezekit.training.recipe import Recipe
from squeezekit.training.run_folder import Run
from squeezekit.training.run_images import augmented, class_weights_of, fitting_batch_size, images_to_train, unlabelled_of
from squeezekit.training.settings import RunConfig, build_config
from squeezekit.training.stored_answers import TeacherAnswers
from squeezekit.training.teacher import Teacher, learn_classes, take_head, teacher_from, teacher_of, teacher_on
from squeezekit.training.time_budget import fitting_epochs

# Reads a MODEL that is a file or known by name, which this room cannot; one without classes knows none of its own.
LoadsTeacher = Callable[[str], StartingPoint]
# A place of random numbers, beside those of training.
UNLABELLED = 6


@dataclass(frozen=True)
class OpenedRun:
    """A run to train, with what had to be read to begin it; None for what is still to be read."""

    run: Run
    source: ImageSource | None = None
    network: nn.Module | None = None
    teacher: Teacher | None = None
    unlabelled: UnlabelledPhotos | None = None


def start_run(
    folder: Path,
    network: dict[str, Any],
    recipe: dict[str, Any],
    run: dict[str, Any],
    *,
    init_from: StartingPoint | Path | None = None,
    load_teacher: LoadsTeacher | None = None,
    minutes: float | None = None,
) -> OpenedRun:
    """Decide what depends on the images and the machine, and make the run folder; raises SqueezekitError.

    With `minutes`, epochs are as many as fit into these.
    """
    if not run.get("data") and run.get("labels"):
        run["data"] = folder_of_labels(run["labels"])
    for field in ("data", "labels", "leave_out", "unlabelled"):
        if run.get(field):
            run[field] = settled(run[field])
    if run.get("teacher"):
        run["teacher"] = anchored(run["teacher"])
    draft = build_config(network, recipe, run)
    source, split = images_to_train(draft, network.get("channels"))
    _check_that_it_ends(draft.recipe, split)
    _fit_to_images(network, source.training, draft.run.data)
    if isinstance(init_from, StartingPoint):
        network |= init_from.new_head(network["classes"])
    if draft.recipe.normalization == "standardise" and not {"mean", "std"} & set(network):
        network["mean"], network["std"] = channel_statistics(source.training, split.training)
    if draft.run.teacher and draft.recipe.augmentation.startswith("shift") and not draft.recipe.shift_step:
        # So few views that it answers each of them once, and later epochs read the answers.
        recipe["shift_step"] = step_of_about_50_views(round(draft.recipe.shift * source.training.image_size))
    run["device"] = str(chosen_device(draft.run.device))
    recipe["precision"] = chosen_precision(draft.recipe.precision, torch.device(run["device"]))
    config = build_config(network, recipe, run)
    facts = _facts(config, source)
    if unlabelled := unlabelled_of(config, split):
        facts["unlabelled"] = unlabelled.images.fingerprint
    if teacher := teacher_named(config, facts, split, source.training, load_teacher):
        facts["teacher"] = teacher.digest
    elif config.recipe.temperature != 1:
        raise SqueezekitError("--temperature is that of a teacher's answers; name one with --teacher")
    weights, name = _weights_to_start_from(init_from, config, source, split), name_of(init_from)
    built = _initial(config, source.training, split, weights, name)
    if weights is not None and config.recipe.head_first:
        if not _knows_classes(init_from, weights, built, source.training):
            _fit_head(built, config, source.training, split)
        weights = {layer: tensor.cpu() for layer, tensor in built.state_dict().items()}
    if name:
        facts["start"] = name
    if minutes:
        timed = _trainer(config, source.training, split, Processes(), copy.deepcopy(built), teacher, unlabelled)
        most = MOST_EPOCHS if config.recipe.head_first and weights is not None else None
        recipe["epochs"] = fitting_epochs(timed, minutes, most)
        say(f"epochs: {recipe['epochs']}, as many as fit into {minutes:g} minutes (--epochs)")
        config = build_config(network, recipe, run)
    created = Run.create(folder, config, facts, split, weights, teacher.head if teacher else None)
    return OpenedRun(created, source, built, teacher, unlabelled)


def teacher_named(
    config: RunConfig,
    facts: dict[str, Any],
    split: Split,
    images: ImageSet,
    load: LoadsTeacher | None = None,
    head: Path | None = None,
) -> Teacher | None:
    """The teacher that a configuration names, if any: a run folder, or what `load` reads; raises SqueezekitError.

    One that knows no classes yet learns those of the images that train, unless `head` is a file of the last layer that it had.
    """
    name, path = config.run.teacher, Path(config.run.teacher)
    if not name:
        return None
    # What exists has an absolute path.
    if not load or path.is_dir() or (path.is_absolute() and not path.exists()):
        return teacher_of(path, config.network, facts, split)
    point = load(name)
    if point.classes:
        return teacher_from(point, config.network, facts, split, images)
    teacher = teacher_on(point, config.network, len(images.classes))
    if head:
        take_head(teacher, head, facts)
    else:
        _teach_classes(teacher, config, images, split)
    return teacher


def _teach_classes(teacher: Teacher, config: RunConfig, images: ImageSet, split: Split) -> None:
    """Let a teacher know the classes of the images that train, and say how well it knows those that validate."""
    shown, _ = augmented(config, config.recipe, images)
    say(f"{teacher.own.name}: a last layer for these classes is fitted to {len(split.training):,} images")
    size = images_at_once(max(teacher.own.image_size, shown.image_size), torch.device(config.run.device))
    training, validation = (
        batches_of(config, shown, Processes(), each, batch_size=size) for each in (split.training, split.validation)
    )
    weights = class_weights_of(config.recipe, images, split.training)
    learn_classes(teacher.to(training.device), training, weights=weights, seed=config.run.seed)
    if len(validation):
        say(f"{teacher.own.name}: validation accuracy {measure(teacher, validation).accuracy:.1%}")


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


def _knows_classes(
    start: StartingPoint | Path | None, weights: Mapping[str, Tensor], network: nn.Module, images: ImageSet
) -> bool:
    """Whether the last layer to start from is one for these classes: it has then seen more images than these."""
    if isinstance(start, StartingPoint):
        return start.classes == images.classes
    return all(weights[name].shape == tensor.shape for name, tensor in network.state_dict().items())


def _fit_head(network: nn.Module, config: RunConfig, images: ImageSet, split: Split) -> None:
    """Let the last layer, whatever it was, know these classes."""
    batches = batches_of(config, images, Processes(), split.training)
    weights = class_weights_of(config.recipe, images, split.training)
    if not fit_head(network.to(batches.device), batches, weights=weights, seed=config.run.seed):
        say("the last layer is not fitted first, since logits are no linear function of what it sees")


def trainer_of(
    run: Run,
    images: ImageSet,
    processes: Processes,
    *,
    network: nn.Module | None = None,
    teacher: Teacher | None = None,
    unlabelled: UnlabelledPhotos | None = None,
) -> Trainer:
    """A run's training as far as it has come; its network is read from the run where it is not given, all else never is."""
    config, split = run.config, run.split_of(len(images))
    state = run.checkpoint()
    if network is None:
        start = None if state else run.start_weights
        network = _initial(config, images, split, read_weights(start) if start else None, start)
    trainer = _trainer(config, images, split, processes, network, teacher, unlabelled)
    if (size := trainer.training.sizes[0]) < config.recipe.batch_size:
        say(f"batch size {size} instead of {config.recipe.batch_size}, so that an epoch has at least eight steps")
    if state is not None:
        trainer.restore(state, run.folder / "last.pt")
    return trainer


def _trainer(
    config: RunConfig,
    images: ImageSet,
    split: Split,
    processes: Processes,
    network: nn.Module,
    teacher: Teacher | None,
    unlabelled: UnlabelledPhotos | None,
) -> Trainer:
    recipe = config.recipe
    beside = min(len(unlabelled.indices), len(split.training)) if unlabelled else 0
    size = fitting_batch_size(recipe.batch_size, len(split.training) + beside)
    if size < processes.count:
        raise SqueezekitError(f"{processes.count} processes are too many for batches of {size} images; start fewer")
    shown, options = augmented(config, recipe, images)
    options |= {"batch_size": size, "shift_step": recipe.shift_step or 1}
    others = _others(config, unlabelled, processes, len(split.training), options) if unlabelled else None
    training = batches_of(config, shown, processes, split.training, others=others, **options)
    device = processes.device(torch.device(config.run.device))
    # On a GPU its answers are part of the recorded step; crops are too many to keep answers, and photos without labels may be.
    live = device.type == "cuda" or training.crops is not None or others is not None
    return Trainer(
        network,
        recipe,
        training,
        batches_of(config, images, processes, split.validation),
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


def _others(
    config: RunConfig, unlabelled: UnlabelledPhotos, processes: Processes, labelled: int, options: dict[str, Any]
) -> Batches:
    """Photos without labels, as many in a batch as go beside so many images that have one."""
    size = unlabelled_in(options["batch_size"], labelled, len(unlabelled.indices))
    if size < 1:
        raise SqueezekitError("--unlabelled needs batches of two images or more; raise --batch-size")
    # Not cropped and shifted like the images beside them.
    seed = derived_seed(config.run.seed, UNLABELLED)
    return batches_of(config, unlabelled.images, processes, unlabelled.indices, **{**options, "batch_size": size, "seed": seed})


def batches_of(
    config: RunConfig,
    images: ImageSet,
    processes: Processes,
    indices: Any = None,
    *,
    others: Batches | None = None,
    **options: Any,
) -> Batches:
    """Batches as a configuration has images normalized, to measure them unless `options` say how to train; see `Batches`.

    Behind each shuffled one is one of `others`, if given.
    """
    network, device = config.network, processes.device(torch.device(config.run.device))
    options = {
        "batch_size": images_at_once(network.image_size, device),
        "mean": network.mean,
        "std": network.std,
        "seed": config.run.seed,
        "device": device,
        "rank": processes.rank,
        "ranks": processes.count,
        **options,
    }
    return MixedBatches(others, images, indices, **options) if others else Batches(images, indices, **options)


def name_of(init_from: StartingPoint | Path | None) -> str | None:
    """What a run folder calls the weights that training started from."""
    return str(init_from.absolute()) if isinstance(init_from, Path) else init_from.name if init_from else None
