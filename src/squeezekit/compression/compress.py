"""From a trained run to the smallest `.sqz` file that meets a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

from squeezekit.codec.encodings import Uncodable
from squeezekit.compression.best_file import BestFile
from squeezekit.compression.candidate import Candidate, TrainingRound
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.deep_compression import DeepCompression
from squeezekit.compression.delta_aware import DeltaAwareMethod
from squeezekit.compression.job_state import JobState, check_output, held_output
from squeezekit.compression.method import Method
from squeezekit.compression.options import CompressOptions
from squeezekit.compression.rate_distortion_method import RateDistortionMethod
from squeezekit.compression.result import BeforeAfter, Compressed
from squeezekit.compression.target import Target
from squeezekit.compression.time_limit import TimeLimit
from squeezekit.data.sources import Data, data_name
from squeezekit.pretrained.files import model_path
from squeezekit.system.console import clock, progress_bar, say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.training.callbacks import Checkpoint, EpochFunction, ProgressBar, RateSteering, StopRequests
from squeezekit.training.device import keep_freed_memory
from squeezekit.training.interruption import Diverged, Interrupted
from squeezekit.training.run_folder import Run

METHODS: Mapping[str, Callable[[CompressionContext, Target], Method]] = {
    "squeezekit": RateDistortionMethod,
    "deep-compression": DeepCompression,
}
# Images that judge, below which one of them is more than a point.
FEW_TO_JUDGE = 100


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
    """Compress a finished run to the `.sqz` file `out`: `workflows.compress.compress`, which says what each argument is.

    Raises SqueezekitError for wrong input, Interrupted after Ctrl-C, which leaves the best file so far.
    """
    trained, out = Run(expanded(run)), expanded(out)
    if method not in METHODS:
        raise SqueezekitError(f"--method {method}: is unknown; choose one of {', '.join(METHODS)}")
    teacher_folder = expanded(teacher) if teacher else None
    options = CompressOptions(method, max_drop, max_bytes, epochs, minutes, teacher_folder, device, rate_weight, delta_from)
    images = None if data is None else data_name(data, trained.data["classes"])
    with held_output(out):
        check_output(out, resume=resume)
        return _compressed(trained, images, out, options, resume=resume)


def _compressed(trained: Run, images: str | None, out: Path, options: CompressOptions, *, resume: bool) -> Compressed:
    context = CompressionContext(trained, images, device=options.training_device, teacher=options.teacher)
    target = Target(context.accuracy_before, options.effective_max_drop, options.max_bytes)
    epochs = options.epochs or context.epochs_per_round()
    limit = TimeLimit(options.minutes, epochs, context.seconds_of_an_epoch, limited=options.epochs is None)
    if context.judges == "training":
        say("no image validates this run: files are judged by images that it has learnt, which flatters them")
    if (judging := len(context.validation)) < FEW_TO_JUDGE:
        say(f"only {judging} images judge files, one of them is {1 / judging:.1%}: more photos would tell files apart better")
    say(f"trained: {context.float_bytes:,} bytes, {context.judges} accuracy {context.accuracy_before:.2%}")
    reference = model_path(options.delta_from).read_bytes() if options.delta_from is not None else None
    chosen = _method(options, context, target, reference)
    settings = {"run": trained.weights_digest(), **options.settings(reference), "epochs": limit.epochs}
    best = None
    try:
        job = JobState.open(out, settings, resume=resume)
        best = BestFile(out, target, job, context.loss_of if context.few_judge and target.max_bytes else None)
        keep_freed_memory()
        run_method(chosen, job, best, limit)
        return _finished(context, target, job, best)
    except (Interrupted, KeyboardInterrupt):
        so_far = best.in_words() if best else ""
        raise Interrupted(f"stopped; {so_far}go on with the same command and --resume") from None


def _method(options: CompressOptions, context: CompressionContext, target: Target, reference: bytes | None) -> Method:
    if reference is not None:
        return DeltaAwareMethod(context, target, reference)
    if options.rate_weight:
        return RateDistortionMethod(context, target, options.rate_weight)
    return METHODS[options.method](context, target)


def run_method(method: Method, job: JobState, best: BestFile, limit: TimeLimit) -> None:
    """Add every candidate of the method to the job, as far as time allows, and keep the best one written."""
    best.update()
    with progress_bar("PTQ", method.max_ptq_candidates, done=len(job.ptq.candidates)) as advance:
        while not (job.rounds.candidates or job.round_started):
            # What is destroyed or too large is no answer yet, however late it is.
            answered = any(best.target.answered(each.stage) for each in job.ptq.candidates)
            if answered and limit.ptq_is_over(job.elapsed()):
                break
            candidate = method.next_ptq(job.ptq.candidates)
            if candidate is None:
                break
            job.ptq.add(candidate, job.elapsed())
            best.update()
            advance(1)
            say(_describe(candidate, best.target, job))
    while not limit.over(job.elapsed()):
        epochs = job.epochs_of_started_round or limit.fitting_epochs(job.elapsed())
        following = method.next_round(job.ptq.candidates, job.rounds.candidates, epochs or limit.epochs)
        if following is None:
            return
        if not epochs:
            break
        stops = StopRequests()
        candidate = _trained(following, epochs, job, limit, stops)
        job.rounds.add(candidate, job.elapsed())
        best.update()
        say(_describe(candidate, best.target, job))
        if stops.requested:
            raise Interrupted
    say("no time for another round (--minutes)")


def _trained(following: TrainingRound, epochs: int, job: JobState, limit: TimeLimit, stops: StopRequests) -> Candidate:
    """The candidate of a round, trained from its beginning or from where it was stopped."""
    trainer, name = following.trainer, following.name
    if (state := job.checkpoint(name)) is not None:
        trainer.restore(state, job.checkpoint_file)
    number, begin, before = len(job.rounds.candidates) + 1, job.elapsed(), trainer.progress.epoch

    def report(row: dict[str, float]) -> None:
        place = f"round {number}, {name}, epoch {row['epoch']:.0f}/{trainer.recipe.epochs}"
        accuracy = f"accuracy {row['validation_accuracy']:.2%}"
        say(f"{place}: {accuracy}, {following.describe()}{limit.left(job.elapsed())}")

    def save() -> None:
        job.save_checkpoint(name, trainer.state(), epochs)

    steering = [RateSteering(following.steer)] if following.steer else []
    collapse = following.collapse
    watching = [collapse] if collapse else []
    bar = ProgressBar(f"round {number}, {name}")
    try:
        trainer.fit([bar, *steering, EpochFunction(report), *watching, Checkpoint(save, always=True), stops])
    except (Diverged, Uncodable):
        if collapse is None:
            raise
        collapse.happened = True
    limit.took(job.elapsed() - begin, trainer.progress.epoch - before)
    if collapse and collapse.happened:
        say(f"round {number}: training destroys the network and is undone; the next round learns more slowly")
    elif not trainer.finished or trainer.should_stop:
        raise Interrupted
    return following.candidate()


def _finished(context: CompressionContext, target: Target, job: JobState, best: BestFile) -> Compressed:
    """Write the best candidate once more, with its test accuracy, and clear the job."""
    chosen, candidates = best.written, job.candidates
    if chosen is None:
        raise SqueezekitError("nothing has been tried in that time; give it more --minutes")
    test = context.test_accuracies(chosen.file)
    file = chosen.file.with_accuracy("test", round(test[1], 4)) if test else chosen.file
    size = best.write(file)
    job.clear()
    return Compressed(
        file=str(best.path),
        # By the size of the file as it is: with its test accuracy it may be smaller than its last stage says.
        met_target=target.met(chosen.stage.model_copy(update={"bytes": size})),
        bytes=size,
        ratio=round(context.float_bytes / size, 2),
        judged_by=context.judges,
        validation=BeforeAfter(context.accuracy_before, chosen.stage.accuracy),
        test=BeforeAfter(*test) if test else None,
        stages=file.stages,
        candidates=tuple(each.stage for each in candidates),
        seconds=round(job.elapsed(), 1),
        delta_bytes=chosen.delta_bytes,
    )


def _describe(candidate: Candidate, target: Target, job: JobState) -> str:
    stage = candidate.stage
    delta = "" if candidate.delta_bytes is None else f"a delta of {candidate.delta_bytes:,}, "
    return (
        f"{clock(job.elapsed())} {stage.name}: {stage.bytes:,} bytes, {delta}{stage.density:.0%} not zero, "
        f"{stage.bits:.2f} bits a weight, "
        f"accuracy {stage.accuracy:.2%} ({100 * (stage.accuracy - target.accuracy_before):+.2f} points)"
    )
