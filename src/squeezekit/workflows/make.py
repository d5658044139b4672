"""From a folder of photos to files that can be used: look, train, compress, export, report."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, get_args

from squeezekit.compression.compress import compress
from squeezekit.compression.target import Target
from squeezekit.data.curation import Curation
from squeezekit.data.findings import Findings
from squeezekit.data.folder_listing import FolderListing, list_folder
from squeezekit.data.sources import settled
from squeezekit.export.formats import export
from squeezekit.reporting.made_report import MadeFacts, MadeFile, write_made_report
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.folder_claim import claimed
from squeezekit.system.paths import anchored, expanded
from squeezekit.system.presentation import Row, Tabular, percent
from squeezekit.training.interruption import Interrupted
from squeezekit.training.run_folder import check_can_be_made
from squeezekit.workflows.check import check
from squeezekit.workflows.make_job import Accuracy, MakeJob, MakeSettings, Platform, Step
from squeezekit.workflows.suitable import MAX_BYTES, Budget, suitable
from squeezekit.workflows.train import teacher_named, train

MINUTES = 20.0
# Of the time: for the look at labels at most, for compression, and for what comes after it.
CHECK_SHARE, COMPRESS_SHARE, LAST_SHARE = 0.2, 0.4, 0.05
# Of an image on a chip, with --for arduino: seconds on a Cortex-M7, and no more RAM than most boards have.
MOST_MACS_ON_A_CHIP = 250_000_000
# Pictures whose features `check` sees in a second (docs/guides/check.md).
CHECKED_A_SECOND = 20
RUN, MODEL, CHECK, REPORT = "run", "model.sqz", "check.html", "report.html"
USE_OF_MODEL = """squeezekit predict model.sqz photo.jpg
squeezekit serve model.sqz
squeezekit export model.sqz --format onnx -o model.onnx
python -c 'import squeezekit as sk; print(sk.Classifier.load("model.sqz")("photo.jpg").label)'"""
USE_OF_RUN = """squeezekit report run -o run.html
squeezekit train --data PHOTOS --init-from run -o run2
squeezekit compress run --max-bytes 50k -o smaller.sqz"""


class _Export(NamedTuple):
    format: str
    name: str
    what: str
    usage: str


EXPORTS: Mapping[str, _Export] = {
    "browser": _Export(
        "html", "classifier.html", "A page that classifies by itself, in any browser, also without a network.", ""
    ),
    "arduino": _Export(
        "c",
        "c",
        "C99 in whole numbers, without a library: for an Arduino sketch, put classifier.h and classifier.c beside it.",
        "make -C c && c/classify < PIXELS",
    ),
    "pi": _Export(
        "pi",
        "pi",
        "For a Raspberry Pi, or another computer with 64-bit Linux, without PyTorch: copy the folder, read its README.md.",
        "squeezekit-device predict model.sqz photo.jpg",
    ),
    "onnx": _Export(
        "onnx", "model.onnx", "For ONNX Runtime, and other programs that read ONNX.", "squeezekit predict model.onnx photo.jpg"
    ),
}


@dataclass(frozen=True, repr=False)
class Made(Tabular):
    """What was made in the folder `out`; `to_frame()` has a row for each file.

    accuracy: on the test images. missed: what is said of a target that was not met, or "". seconds: of each step.
    """

    out: str
    files: tuple[MadeFile, ...]
    accuracy: Accuracy
    missed: str
    seconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        files = [{**asdict(file), "path": str(Path(self.out) / file.name)} for file in self.files]
        return {**vars(self), "files": files, "accuracy": self.accuracy.model_dump(), "met_target": not self.missed}

    def _shown(self) -> Row:
        return {"out": self.out, "accuracy": percent(self.accuracy.share), "files": [file.name for file in self.files]}

    def _records(self) -> Sequence[Row]:
        return [asdict(file) for file in self.files]


def make(
    data: str | PathLike[str],
    out: str | PathLike[str],
    *,
    max_bytes: int = MAX_BYTES,
    minutes: float = MINUTES,
    platform: Platform = "browser",
    labels: str | PathLike[str] | None = None,
    group_by: str = "",
    leave_out: str | PathLike[str] | None = None,
    teacher: str | PathLike[str] | None = None,
    unlabelled: str | PathLike[str] | None = None,
) -> Made:
    """Make a classifier of a folder of photos: `check`, `train`, `compress`, `export`, and a report, all into the folder `out`.

    data: a folder with one folder of pictures for each class. max_bytes: what the `.sqz` file may have, by which a network for
    photos is chosen as well. minutes: all of it together, met within a tenth unless a step has nothing left to do or a single
    epoch takes longer. platform: "browser" (a page), "arduino" (C), "pi", "onnx", or "server" (the `.sqz` file
    alone, for `serve`). labels, group_by, leave_out, teacher, unlabelled: as `train` takes them.

    Each step is kept when it is done: the same call goes on where it was stopped, and returns what is finished already. Raises
    SqueezekitError for wrong input, RunFailed where a step fails, Interrupted after Ctrl-C.
    """
    folder, out = expanded(data), expanded(out)
    curation = Curation(str(labels or ""), group_by, str(leave_out or "")).settled()
    taught = {"teacher": anchored(str(teacher)) if teacher else "", "unlabelled": settled(str(unlabelled or ""))}
    settings = _settings(folder, max_bytes, minutes, platform, curation, taught)
    listing = _checked(folder, out, settings, curation)
    settings = settings.model_copy(update={"pictures": _digest(listing)})
    with claimed(out), _goes_on_with_the_same_command():
        making = _Making(folder, out, settings, curation, MakeJob(out, settings), len(listing.paths))
        if "train" not in making.job.seconds:
            # A network within the budget, or a sentence before the check.
            suitable(folder, making.budget, making.curated)
        # Each with what it leaves.
        steps: dict[Step, tuple[Callable[[], None], Path]] = {
            "check": (making.check, out / CHECK),
            "train": (making.train, making.run / "summary.json"),
            "compress": (making.compress, making.model),
            "export": (making.export, making.exported or out),
            "report": (making.report, out / REPORT),
        }
        missing = [name for name, (_, left) in steps.items() if name not in making.job.seconds or not left.exists()]
        if not missing:
            say(f"{out}: is made already")
        for number, (name, (step, _)) in enumerate(steps.items(), 1):
            if name in missing:
                say(f"{number} of {len(steps)}: {name}")
                making.job.begin()
                step()
        return making.made()


def _settings(
    folder: Path, max_bytes: int, minutes: float, platform: str, curation: Curation, taught: Mapping[str, str]
) -> MakeSettings:
    """Raises SqueezekitError for what cannot be."""
    if platform not in get_args(Platform):
        raise SqueezekitError(f"--for {platform}: is unknown; choose {', '.join(get_args(Platform))}")
    if not 0 < minutes < math.inf:
        raise SqueezekitError(f"--minutes {minutes:g}: give more than 0")
    Target(0, None, max_bytes)
    _check_taught(taught["teacher"], taught["unlabelled"])
    return MakeSettings(
        data=settled(str(folder)), max_bytes=max_bytes, minutes=minutes, platform=platform, **vars(curation), **taught
    )


def _check_taught(teacher: str, unlabelled: str) -> None:
    """Raises SqueezekitError for a teacher or a folder that is not there, before anything is done."""
    if unlabelled and not teacher:
        raise SqueezekitError("--unlabelled needs a --teacher, whose answers are learnt; for photos efficientnet-lite0")
    if unlabelled and not Path(unlabelled).is_dir():
        raise SqueezekitError(f"{unlabelled}: is no folder of photos; name one with --unlabelled, or leave that out")
    if teacher:
        teacher_named(teacher)


def _checked(folder: Path, out: Path, settings: MakeSettings, curation: Curation) -> FolderListing:
    """What the folder holds, and that what is to be made can be; raises SqueezekitError before minutes of work."""
    if not folder.is_dir():
        raise SqueezekitError(f"{folder}: is no folder; give one with one folder of pictures for each class")
    check_can_be_made(out, settings.data)
    if settings.platform == "onnx":
        from squeezekit.export.onnx import check_installed

        check_installed()
    return list_folder(folder, curation)


def _digest(listing: FolderListing) -> str:
    """Tells whether pictures have come, gone, or other sizes, labels, parts or groups since."""
    # Times and places of files change where a folder is copied.
    sizes = [size for size, *_ in listing.stamps]
    named = repr((listing.classes, listing.paths, listing.labels, sizes, listing.parts, listing.groups))
    return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()


@contextmanager
def _goes_on_with_the_same_command() -> Iterator[None]:
    try:
        yield
    except Interrupted:
        raise Interrupted("stopped; go on with the same command") from None


class _Making:
    """The steps, each of which leaves files and says to its job that it is done."""

    def __init__(self, data: Path, out: Path, settings: MakeSettings, curation: Curation, job: MakeJob, pictures: int) -> None:
        self.data, self.out, self.settings, self.curation, self.job = data, out, settings, curation, job
        self.pictures = pictures
        self.seconds = 60 * settings.minutes
        self.budget = Budget(settings.max_bytes, MOST_MACS_ON_A_CHIP if settings.platform == "arduino" else None)
        self.run, self.model = out / RUN, out / MODEL
        self.wanted = EXPORTS.get(settings.platform)
        self.exported = out / self.wanted.name if self.wanted else None
        self.curated = {name: value for name, value in vars(curation).items() if value}
        taught: dict[str, Any] = {"teacher": settings.teacher, "unlabelled": settings.unlabelled}
        self.taught = {name: value for name, value in taught.items() if value}

    def check(self) -> None:
        """Look at the pictures; at their labels where that leaves time for the rest."""
        # Whatever is in the folder from now on is its own.
        self.job.keep()
        quick = self.pictures / CHECKED_A_SECOND > CHECK_SHARE * self.seconds
        found = check(self.data, self.out / CHECK, quick=quick, **self.curated)
        findings = _sentences(found, quick)
        for line in findings:
            say(line)
        self.job.done("check", findings=findings)

    def train(self) -> None:
        """Train for what is left after the look, without what comes later."""
        left = self.seconds - self.job.elapsed() - (COMPRESS_SHARE + LAST_SHARE) * self.seconds
        run = train(
            str(self.data),
            out=self.run,
            resume=True,
            minutes=max(left, 1) / 60,
            max_bytes=self.budget.max_bytes,
            max_macs=self.budget.max_macs,
            **self.curated,
            **self.taught,
        )
        assert run.summary is not None
        self.job.done("train", seconds=run.summary["seconds"])

    def compress(self) -> None:
        """Compress for what is left, without export and report."""
        minutes = self.job.compression_minutes
        if minutes is None:
            minutes = max(self.seconds * (1 - LAST_SHARE) - self.job.elapsed(), 1) / 60
            self.job.keep(compression_minutes=minutes)
        seconds = 0.0
        # Where it was stopped after the file was written, there is nothing left to do.
        if not self.model.exists() or self.model.with_name(f"{MODEL}.work").exists():
            max_bytes = self.settings.max_bytes
            compressed = compress(self.run, self.model, max_bytes=max_bytes, minutes=minutes, resume=True)
            seconds = compressed.seconds
        if missed := self._missed():
            say(missed)
        self.job.done("compress", seconds=seconds)

    def _missed(self) -> str:
        """What is said of a target that the file does not meet, or ""."""
        size, most = self.model.stat().st_size, self.settings.max_bytes
        if size <= most:
            return ""
        return f"Target missed: {MODEL} has {size:,} bytes, more than {most:,}; allow more bytes, or more minutes."

    def export(self) -> None:
        """Write the file for the platform."""
        if self.wanted and self.exported:
            for line in export(self.model, self.exported, format=self.wanted.format).lines():
                say(line)
        self.job.done("export")

    def report(self) -> None:
        """Measure, and write the page."""
        facts = MadeFacts(
            data=self.data,
            curation=self.curation,
            run=self.run,
            model=self.model,
            files=self._files(),
            findings=self.job.findings,
            check=CHECK,
            missed=self._missed(),
            seconds=self.job.seconds,
        )
        accuracy = write_made_report(facts, self.out / REPORT)
        self.job.done("report", accuracy=Accuracy(**vars(accuracy)))

    def _files(self) -> tuple[MadeFile, ...]:
        found = [MadeFile(MODEL, self.model.stat().st_size, "The classifier, for squeezekit.", USE_OF_MODEL)]
        if self.wanted and self.exported:
            size = self.exported.stat().st_size if self.exported.is_file() else None
            found.insert(0, MadeFile(self.wanted.name, size, self.wanted.what, self.wanted.usage))
        return (*found, MadeFile(RUN, None, "The training, from which more can be made.", USE_OF_RUN))

    def made(self) -> Made:
        """What is finished."""
        assert self.job.accuracy is not None
        pages = [
            MadeFile(name, (self.out / name).stat().st_size, what)
            for name, what in ((CHECK, "What the check found."), (REPORT, "The report."))
        ]
        return Made(str(self.out), (*self._files(), *pages), self.job.accuracy, self._missed(), self.job.seconds)


def _sentences(found: Findings, quick: bool) -> tuple[str, ...]:
    """Two of them."""
    counts = [sum(parts.values()) for parts in found.classes.values()]
    of_each = f"{min(counts):,} to {max(counts):,}" if min(counts) < max(counts) else f"{counts[0]:,}"
    first = (
        f"{found.pictures:,} pictures in {len(counts)} classes of {of_each} pictures; shorter sides of {found.sides[0]} to "
        f"{found.sides[2]} pixels."
    )
    parts = [f"{len(found.copies_of(near=near))} groups of {name}" for near, name in ((False, "copies"), (True, "near-copies"))]
    parts += [f"{len(paths)} {name}" for paths, name in ((found.blank, "blank"), (found.blurred, "blurred"))]
    parts.append(f"{len(found.broken)} that cannot be read")
    if found.accuracy is not None:
        parts.append(f"{len(found.doubtful)} doubtful labels")
    elif quick:
        parts.append("labels not looked at for want of time")
    shortcuts = "".join(f" Classes can be told apart by {each.what} alone." for each in found.shortcuts)
    return first, f"Found: {', '.join(parts)}.{shortcuts}"
