"""From a trained run to the smallest `.sqz` file that keeps its promise."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezekit.compression.candidate import Method, Round, Trial
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.deep_compression import DeepCompression
from squeezekit.compression.delta_aware import Near
from squeezekit.compression.job_state import JobState
from squeezekit.compression.rate_distortion_method import Squeeze
from squeezekit.compression.target import Target
from squeezekit.data.sources import Data, data_name
from squeezekit.pretrained.files import model_path
from squeezekit.system.console import progress_bar, say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.presentation import Row, Tabular, percent
from squeezekit.training.callbacks import Checkpoint, EpochFunction, ProgressBar, RateSteering, StopRequests
from squeezekit.training.device import keep_freed_memory
from squeezekit.training.interruption import Interrupted
from squeezekit.training.run_folder import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS: Mapping[str, Callable[[CompressionContext, Target, int], Method]] = {
    "squeezekit": Squeeze,
    "deep-compression": DeepCompression,
}


@dataclass(frozen=True, repr=False)
class Compressed(Tabular):
    """A finished compression: the file, whether it keeps its promise, and accuracies 0…1 before and after.

    `ratio` is by how much the file is smaller than the run's weights in float32; `trials` are everything that was tried;
    `delta_bytes` are those of the delta from the file that this one was to be near to.
    """

    file: str
    kept: bool
    bytes: int
    ratio: float
    validation: dict[str, float]
    test: dict[str, float]
    stages: list[dict[str, Any]]
    trials: list[dict[str, Any]]
    seconds: float
    delta_bytes: int | None = None

    def plot(self) -> Figure:
        """Bytes against validation accuracy of everything that was tried, and of what was written."""
        from squeezekit.system.figures import sizes_figure

        tried = [(candidate["bytes"], candidate["accuracy"]) for candidate in self.trials]
        return sizes_figure({"tried": tried, "written": [(self.bytes, self.validation["after"])]}, "validation accuracy")

    def _shown(self) -> Row:
        delta = {} if self.delta_bytes is None else {"delta bytes": self.delta_bytes}
        accuracies = {"validation accuracy": self.validation, "test accuracy": self.test}
        changes = {name: f"{percent(of['before'])} → {percent(of['after'])}" for name, of in accuracies.items() if of}
        return {"file": self.file, "bytes": self.bytes, "ratio": self.ratio, **delta, **changes, "met target": self.kept}

    def _records(self) -> Sequence[Row]:
        return self.trials


def compress(
    run: str | PathLike[str],
    out: str | PathLike[str],
    *,
    max_drop: float | None = None,
    max_bytes: int | None = None,
    method: str = "squeezekit",
    epochs: int | None = None,
    minutes: float | None = None,
    data: Data | None = None,
    teacher: str | Path | None = None,
    device: str = "auto",
    pressure: float | None = None,
    near: str | Path | None = None,
    resume: bool = False,
) -> Compressed:
    """Compress a trained run to the `.sqz` file `out`.

    The promise is at most `max_drop` points of validation accuracy lost (0.5 unless `max_bytes` is given), at most `max_bytes`
    bytes, or both. First weights are only rounded. Then rounds of `epochs` epochs (4, or of small sets as many as make 400 steps)
    train them as they will be written, each under more pressure to be cheap, until one goes too far; after `minutes`, if given,
    no new round begins (0: weights are only rounded, unless `resume` finds a round begun). Rounds learn the answers of the run's
    own network, or of that of another run, the `teacher`, on `device` (Deep Compression always on the CPU). The best file is
    written in any case. Training images train, validation images choose, test images are measured once, at the end. `method` is
    one of METHODS: our own, or Deep Compression.

    `pressure` asks our own method for a single round under just that, in place of trials (`squeeze.py` says what it is). With
    `max_bytes` the round begins there and ends at or just below the bytes: what a bit costs is steered, up to eightfold
    (`rate_control.py`).

    `near` is an earlier `.sqz` file that the run was trained on from: weights are rounded to its grids, and to its integers
    wherever that costs little, so that a device that has it needs only a small delta (`near.py`). The one with the smallest delta
    that keeps the promise is written; one round of training is spent where rounding alone does not keep it.

    What has been done is kept beside `out` until the end; `resume` goes on with it. Raises SqueezekitError for wrong input,
    Interrupted after Ctrl-C.
    """
    trained, out = Run(Path(run).expanduser()), Path(out).expanduser()
    if method not in METHODS:
        raise SqueezekitError(f"--method {method}: is unknown; choose one of {', '.join(METHODS)}")
    if epochs is not None and epochs < 1:
        raise SqueezekitError(f"--epochs {epochs}: give at least 1")
    if max_drop is None and max_bytes is None and pressure is None:
        max_drop = 0.5
    if minutes is not None and not minutes >= 0:
        raise SqueezekitError(f"--minutes {minutes:g}: give 0 or more")
    if pressure is not None and not (0 < pressure < math.inf and method == "squeezekit"):
        raise SqueezekitError(f"--pressure {pressure:g}: give a number above 0, and no other --method than squeezekit")
    if near is not None and (max_bytes or pressure or teacher or method != "squeezekit"):
        raise SqueezekitError("--near: leave out --max-bytes, --pressure, --teacher and --method")
    if method == "deep-compression" and (teacher or device not in ("auto", "cpu")):
        raise SqueezekitError("--method deep-compression trains on the CPU, with labels; leave out --teacher and --device")
    device = "cpu" if method == "deep-compression" else device
    teaching = Path(teacher).expanduser() if teacher else None
    subject = CompressionContext(
        trained, None if data is None else data_name(data, trained.data["classes"]), device=device, teacher=teaching
    )
    promise = Target(subject.before, max_drop, max_bytes)
    epochs = epochs or subject.epochs_a_round()
    say(f"trained: {subject.float_bytes:,} bytes, validation accuracy {subject.before:.2%}")
    settings = {"method": method, "max_drop": max_drop, "max_bytes": max_bytes, "epochs": epochs}
    if teaching:
        settings["teacher"] = Run(teaching).weights_digest()
    if pressure:
        settings["pressure"] = pressure
    if near is not None:
        earlier = model_path(near).read_bytes()
        settings["near"] = hashlib.sha256(earlier).hexdigest()
        one: Method = Near(subject, promise, epochs, earlier)
    elif pressure:
        one = Squeeze(subject, promise, epochs, pressure)
    else:
        one = METHODS[method](subject, promise, epochs)
    workshop = JobState.open(out, {"run": trained.weights_digest(), **settings}, resume=resume)
    keep_freed_memory()
    clock = Clock(time.monotonic() - workshop.seconds)
    try_all(one, subject, workshop, clock, minutes)
    return _handed_out(subject, promise, out, workshop, clock)


@dataclass(frozen=True)
class Clock:
    """When a compression began, had it not been stopped since."""

    begin: float

    def seconds(self) -> float:
        """Since then."""
        return time.monotonic() - self.begin


def try_all(method: Method, subject: CompressionContext, workshop: JobState, clock: Clock, minutes: float | None = None) -> None:
    """Everything that the method wants to try, into the workshop; after `minutes`, if given, no new round begins."""
    roundings, rounds = workshop.roundings, workshop.rounds
    with progress_bar("rounding", method.most_roundings, done=len(roundings.trials)) as advance:
        while not rounds.trials and (trial := method.rounding(roundings.trials)) is not None:
            roundings.keep(trial, clock.seconds())
            advance(1)
            say(_line(trial, subject.before))
    while minutes is None or clock.seconds() < 60 * minutes or workshop.begun:
        following = method.following(roundings.trials, rounds.trials)
        if following is None:
            return
        trial = _trained(following, workshop, clock)
        rounds.keep(trial, clock.seconds())
        say(_line(trial, subject.before))
    say(f"--minutes {minutes:g}: no further round")


def _trained(following: Round, workshop: JobState, clock: Clock) -> Trial:
    """A round from its beginning, or from where it stopped."""
    trainer, name = following.trainer, following.name
    if (state := workshop.checkpoint(name)) is not None:
        trainer.restore(state)
    number = len(workshop.rounds.trials) + 1

    def report(row: dict[str, float]) -> None:
        place = f"round {number}, {name}, epoch {row['epoch']:.0f}/{trainer.recipe.epochs}"
        say(f"{place}: validation accuracy {row['validation_accuracy']:.2%}, {following.note()}")

    def save() -> None:
        workshop.keep_checkpoint(name, trainer.state(), clock.seconds())

    steering = [RateSteering(following.steer)] if following.steer else []
    bar = ProgressBar(f"round {number}, {name}")
    trainer.fit([bar, *steering, EpochFunction(report), Checkpoint(save, always=True), StopRequests()])
    if not trainer.finished or trainer.should_stop:
        raise Interrupted(f"stopped in round {number}; go on with the same command and --resume")
    return following.trial()


def _handed_out(subject: CompressionContext, promise: Target, out: Path, workshop: JobState, clock: Clock) -> Compressed:
    trials = [*workshop.roundings.trials, *workshop.rounds.trials]
    if not trials:
        raise SqueezekitError("nothing has been tried in that time; give it more --minutes")
    best = trials[promise.best([trial.stage for trial in trials], [trial.bytes for trial in trials])]
    chosen = best.file
    test = subject.test(chosen)
    size = (chosen.with_accuracy("test", round(test["after"], 4)) if test else chosen).write(out)
    workshop.clear()
    last = chosen.stages[-1]
    return Compressed(
        file=str(out),
        # The file itself: another test accuracy than was reckoned with may need a byte more.
        kept=promise.kept(last.model_copy(update={"bytes": size})),
        bytes=size,
        ratio=round(subject.float_bytes / size, 2),
        validation={"before": subject.before, "after": last.accuracy},
        test=test,
        stages=[stage.model_dump() for stage in chosen.stages],
        trials=[trial.stage.model_dump() for trial in trials],
        seconds=round(clock.seconds(), 1),
        delta_bytes=best.cost,
    )


def _line(trial: Trial, before: float) -> str:
    stage = trial.stage
    delta = "" if trial.cost is None else f"a delta of {trial.cost:,}, "
    return (
        f"{stage.name}: {stage.bytes:,} bytes, {delta}{stage.density:.0%} not zero, {stage.bits:.2f} bits a weight, "
        f"validation accuracy {stage.accuracy:.2%} ({100 * (stage.accuracy - before):+.2f} points)"
    )
