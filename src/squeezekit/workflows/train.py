"""Training as a user calls it: what `training.train` does, from any MODEL's weights as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from squeezekit.data.curation import folder_of_labels
from squeezekit.pretrained.efficientnet_lite0 import NAME, efficientnet_lite0
from squeezekit.pretrained.files import known_names, model_path
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.training import train as training
from squeezekit.training.distributed import rank
from squeezekit.training.fine_tuning import StartingPoint
from squeezekit.training.run_folder import Run
from squeezekit.workflows.fine_tune import starting_point
from squeezekit.workflows.suitable import Budget, suitable

# Of files that hold weights and nothing else.
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt")


def train(
    data: Any = None,
    *,
    network: str | None = None,
    recipe: str | None = None,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict[str, float]], object] | None = None,
    init_from: str | Path | None = None,
    minutes: float | None = None,
    max_bytes: int | None = None,
    max_macs: int | None = None,
    max_ram: int | None = None,
    **fields: Any,
) -> Run:
    """Train a network and return its finished run.

    data: "digits", "cifar10", an archive of CIFAR-10, a folder with one folder of pictures for each class, arrays
    `(images uint8 [n, h, w, c], labels)`, or a map-style torch Dataset.
    network (default `squeezenet-cifar`), recipe (default `modern`): names of presets. Any field of `SqueezeNetConfig`, `Recipe`
    or `RunSettings` can be given by its name: `train("digits", squeeze_ratio=0.25, epochs=10)`.
    config: a TOML file with tables [network], [recipe] and [run]; fields win over it.
    out: the run folder, which must not exist unless `resume` is set; then a missing one is started, a finished one returned as it
    is.
    on_epoch: called with every epoch's row of `metrics.csv` when it is saved; what it raises ends the training.
    init_from: what to start from in place of random weights: a MODEL (run folder, `.sqz` file or pretrained name), or a
    `.safetensors` or `.pth` file of weights; with another number of classes the last layer starts anew.
    teacher, one of the fields: a MODEL of the same classes and images, whose answers are learnt in place of the labels, or
    "efficientnet-lite0", which learns the classes of the training images first. unlabelled: a folder of photos without labels, of
    which the teacher's answers are learnt too.

    minutes: train for about so long, in as many epochs as fit, so that the schedule ends in time; resuming keeps those epochs.

    Photos start from a pretrained network, with recipe `fine-tune`, unless `network`, `recipe`, `config` or `init_from` says
    otherwise; `max_bytes` of the finished file, `max_macs` multiply-adds of an image and `max_ram` bytes of its feature maps as
    int8 bound that choice (`suitable`).

    Under torchrun, its processes train one network together, with the weights that one process would get, up to rounding;
    `batch_size` is that of all of them. Every process returns the run, the first one writes it.

    Raises SqueezekitError for wrong input, RunFailed for a diverged run, Interrupted after Ctrl-C.
    """
    if fields.get("teacher") in known_names():
        fields["teacher"] = str(model_path(fields["teacher"]))
    budget = Budget(max_bytes, max_macs, max_ram)
    labels = fields.get("labels")
    folder = folder_of_labels(labels) if data is None and labels else data
    named = init_from or network or recipe or config or not isinstance(folder, str | Path)
    if named and budget != Budget():
        raise SqueezekitError("--max-bytes, --max-macs and --max-ram choose a network for photos; leave them out")
    # What was chosen for a run that is begun stands.
    if not named and not _is_begun(out):
        given = {**fields, **({} if minutes is None else {"minutes": minutes})}
        choice = suitable(folder, budget, given)
        init_from, fields = choice.init_from, {**choice.fields, **fields}
        for line in choice.lines if rank() == 0 else ():
            say(line)
    weights_file = init_from is not None and Path(init_from).suffix in WEIGHTS_SUFFIXES
    return training.train(
        data,
        network=network,
        recipe=recipe,
        config=config,
        out=out,
        resume=resume,
        on_epoch=on_epoch,
        init_from=init_from if init_from is None or weights_file else starting_point(init_from),
        load_teacher=teacher_named,
        minutes=minutes,
        **fields,
    )


def _is_begun(out: str | Path | None) -> bool:
    return out is not None and (expanded(out) / "config.toml").exists()


def teacher_named(model: str) -> StartingPoint:
    """A MODEL that teaches, or EfficientNet-Lite0, which knows no classes yet; raises SqueezekitError."""
    if model != NAME:
        return starting_point(model)
    network, config = efficientnet_lite0()
    return StartingPoint(model, network, config, None, lambda _images: np.zeros(0, np.int64), ())
