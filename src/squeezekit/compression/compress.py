"""From a trained run to the smallest `.sqz` file that meets a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

from squeezekit.compression.candidate import Candidate, TrainingRound
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.deep_compression import DeepCompression
from squeezekit.compression.delta_aware import DeltaAwareMethod
from squeezekit.compression.job_state import JobState, held_output, kept
from squeezekit.compression.method import Method
from squeezekit.compression.options import CompressOptions
from squeezekit.compression.rate_distortion_method import RateDistortionMethod
from squeezekit.compression.result import BeforeAfter, Compressed
from squeezekit.compression.target import Target
from squeezekit.data.sources import Data, data_name
from squeezekit.pretrained.files import model_path
from squeezekit.system.console import progress_bar, say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.training.callbacks import Checkpoint, EpochFunction, ProgressBar, RateSteering, StopRequests
from squeezekit.training.device import keep_freed_memory
from squeezekit.training.interruption import Interrupted
from squeezekit.training.run_folder import Run

METHODS: Mapping[str, Callable[[CompressionContext, Target, int], Method]] = {
    "squeezekit": RateDistortionMethod,
    "deep-compression": DeepCompression,
}


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
    rate_weight: float | None = None,
    delta_from: str | Path | None = None,
    resume: bool = False,
) -> Compressed:
    """Compress a trained run to the `.sqz` file `out`.

    The target is at most `max_drop` points of validation accuracy lost (0.5 unless `max_bytes` is given), at most `max_bytes`
    bytes, or both. First weights are quantised without training (PTQ). Rounds of quantisation-aware training (QAT) follow, of
    `epochs` epochs (4, or on small sets as many as make 400 steps), each at a larger rate weight λ, until one goes too far; after
    `minutes`, if given, no new round begins (0: PTQ only, unless `resume` finds a round that was started). Rounds learn the
    answers of the run's own network, or of that of another run, the `teacher`, on `device` (Deep Compression always on the CPU).
    The best file is written, whether it meets the target or not. Training images train, validation images choose, test images are
    measured once, at the end. `method` is one of METHODS: our own, or Deep Compression.

    Where `max_bytes` is the whole target, PTQ that fits and loses nothing is the end; otherwise one round begins at the λ at
    which PTQ fits, and rate control ends it at or just below that size. Only where it cannot, up to two more follow.

    With `rate_weight`, our own method is a single QAT round at that λ: the price of a bit for every weight, in nats of an image's
    loss. With `max_bytes` as well, the round begins there and ends at or just below that size: rate control changes the price of
    a bit, up to eightfold.

    `delta_from` is an earlier `.sqz` file (or the name of a pretrained model) that the run was trained on from. Weights keep the
    grids of that file, and its integers wherever that costs little, so that a device that has it needs only a small delta. The
    file of the smallest delta that meets the target is written; one QAT round is spent where PTQ does not meet it.

    What has been done is kept beside `out` until the end; `resume` goes on with it. Raises SqueezekitError for wrong input,
    Interrupted after Ctrl-C.
    """
    trained, out = Run(expanded(run)), expanded(out)
    if method not in METHODS:
        raise SqueezekitError(f"--method {method}: is unknown; choose one of {', '.join(METHODS)}")
    teacher_folder = expanded(teacher) if teacher else None
    options = CompressOptions(method, max_drop, max_bytes, epochs, minutes, teacher_folder, device, rate_weight, delta_from)
    images = None if data is None else data_name(data, trained.data["classes"])
    context = CompressionContext(trained, images, device=options.training_device, teacher=teacher_folder)
    target = Target(context.accuracy_before, options.effective_max_drop, max_bytes)
    epochs = epochs or context.epochs_per_round()
    say(f"trained: {context.float_bytes:,} bytes, validation accuracy {context.accuracy_before:.2%}")
    reference = model_path(delta_from).read_bytes() if delta_from is not None else None
    chosen = _method(options, context, target, epochs, reference)
    settings = {"run": trained.weights_digest(), **options.settings(reference), "epochs": epochs}
    with held_output(out):
        job = JobState.open(out, settings, resume=resume)
        keep_freed_memory()
        run_method(chosen, target, job, minutes)
        return _write_best(context, target, job, out)


def _method(
    options: CompressOptions, context: CompressionContext, target: Target, epochs: int, reference: bytes | None
) -> Method:
    if reference is not None:
        return DeltaAwareMethod(context, target, epochs, reference)
    if options.rate_weight:
        return RateDistortionMethod(context, target, epochs, options.rate_weight)
    return METHODS[options.method](context, target, epochs)


def run_method(method: Method, target: Target, job: JobState, minutes: float | None = None) -> None:
    """Add every candidate of the method to the job; after `minutes`, if given, no new round of training begins."""
    with progress_bar("PTQ", method.max_ptq_candidates, done=len(job.ptq.candidates)) as advance:
        while not job.rounds.candidates and (candidate := method.next_ptq(job.ptq.candidates)) is not None:
            job.ptq.add(candidate, job.elapsed())
            advance(1)
            say(_describe(candidate, target))
    while minutes is None or job.elapsed() < 60 * minutes or job.round_started:
        following = method.next_round(job.ptq.candidates, job.rounds.candidates)
        if following is None:
            return
        candidate = _trained(following, job)
        job.rounds.add(candidate, job.elapsed())
        say(_describe(candidate, target))
    say(f"--minutes {minutes:g}: no further round")


def _trained(following: TrainingRound, job: JobState) -> Candidate:
    """The candidate of a round, trained from its beginning or from where it was stopped."""
    trainer, name = following.trainer, following.name
    if (state := job.checkpoint(name)) is not None:
        trainer.restore(state, job.checkpoint_file)
    number = len(job.rounds.candidates) + 1

    def report(row: dict[str, float]) -> None:
        place = f"round {number}, {name}, epoch {row['epoch']:.0f}/{trainer.recipe.epochs}"
        say(f"{place}: validation accuracy {row['validation_accuracy']:.2%}, {following.describe()}")

    def save() -> None:
        job.save_checkpoint(name, trainer.state())

    steering = [RateSteering(following.steer)] if following.steer else []
    bar = ProgressBar(f"round {number}, {name}")
    trainer.fit([bar, *steering, EpochFunction(report), Checkpoint(save, always=True), StopRequests()])
    if not trainer.finished or trainer.should_stop:
        raise Interrupted(f"stopped in round {number}; go on with the same command and --resume")
    return following.candidate()


def _write_best(context: CompressionContext, target: Target, job: JobState, out: Path) -> Compressed:
    """Write the best candidate, with its test accuracy, and clear the job."""
    candidates = job.candidates
    if not candidates:
        raise SqueezekitError("nothing has been tried in that time; give it more --minutes")
    best = candidates[target.best([each.stage for each in candidates], [each.cost for each in candidates])]
    test = context.test_accuracies(best.file)
    file = best.file.with_accuracy("test", round(test[1], 4)) if test else best.file
    with kept(out):
        size = file.write(out)
    job.clear()
    return Compressed(
        file=str(out),
        # By the size of the file as it is: with its test accuracy it may be smaller than its last stage says.
        met_target=target.met(best.stage.model_copy(update={"bytes": size})),
        bytes=size,
        ratio=round(context.float_bytes / size, 2),
        validation=BeforeAfter(context.accuracy_before, best.stage.accuracy),
        test=BeforeAfter(*test) if test else None,
        stages=file.stages,
        candidates=tuple(each.stage for each in candidates),
        seconds=round(job.elapsed(), 1),
        delta_bytes=best.delta_bytes,
    )


def _describe(candidate: Candidate, target: Target) -> str:
    stage = candidate.stage
    delta = "" if candidate.delta_bytes is None else f"a delta of {candidate.delta_bytes:,}, "
    return (
        f"{stage.name}: {stage.bytes:,} bytes, {delta}{stage.density:.0%} not zero, {stage.bits:.2f} bits a weight, "
        f"validation accuracy {stage.accuracy:.2%} ({100 * (stage.accuracy - target.accuracy_before):+.2f} points)"
    )
