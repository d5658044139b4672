"""The page of `make`: what a model is worth, where it errs, and how to use the files; one file that loads nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from squeezekit.data.curation import Curation
from squeezekit.inference.classifier import Classifier
from squeezekit.inference.evaluation import Evaluation, evaluate_model
from squeezekit.inference.foreign_images import Share, kept_share
from squeezekit.inference.model import Model, load_model
from squeezekit.inference.reliability import class_thresholds, confidence_bins
from squeezekit.integer.outline import NoIntegerForm, ram_of
from squeezekit.networks.layer_table import layer_table
from squeezekit.reporting import charts
from squeezekit.reporting.document import Column, Listing, Paragraph, ReportSection, Table
from squeezekit.reporting.localization import Language
from squeezekit.reporting.mistakes import worst_mistakes
from squeezekit.reporting.report import digest_of_text, page_environment
from squeezekit.reporting.run_report import MAX_CLASSES
from squeezekit.system import atomic_io
from squeezekit.system.version import version
from squeezekit.training.run_folder import Run

# Of the answers at or above a class's threshold, the share that is right on the validation images.
PRECISION = 0.95
# Answers that are timed, one image each.
TIMED = 20
ENGLISH = Language("en")


@dataclass(frozen=True)
class MadeFile:
    """A file or folder that was made: its name beside the page, bytes (None for a folder), what it is, how it is used."""

    name: str
    bytes: int | None
    what: str
    usage: str = ""


@dataclass(frozen=True)
class MadeFacts:
    """What the page is about: the folder of pictures `data` as `curation` has them, the run, the `.sqz` file made of it.

    findings, check: what a look at the pictures found in sentences, and the name of its page. missed: what is said of a target
    that was not met, or "". seconds: of each step, those done so far.
    """

    data: Path
    curation: Curation
    run: Path
    model: Path
    files: Sequence[MadeFile]
    findings: Sequence[str]
    check: str
    missed: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Fact:
    """A number at the top of the page."""

    name: str
    value: str
    note: str = ""


def write_made_report(facts: MadeFacts, out: Path) -> Share:
    """Measure the model, write the page, and return the share of test images that it answers rightly; raises SqueezekitError."""
    model = replace(load_model(facts.model), curation=facts.curation)
    test, validation = (evaluate_model(model, facts.data, part) for part in ("test", "validation"))
    accuracy = Share.of(test.probabilities.argmax(1) == test.images.labels)
    pages = resources.files(__package__) / "pages"
    style = "".join((pages / name).read_text(encoding="utf-8") for name in ("report.css", "check.css", "made.css"))
    policy = f"default-src 'none'; img-src data:; style-src '{digest_of_text(style)}'; base-uri 'none'; form-action 'none'"
    text = (
        page_environment()
        .get_template("made.html.jinja")
        .render(
            language=ENGLISH,
            title=f"A classifier of {facts.data.name}",
            lead=_lead(facts, test),
            facts=_numbers(facts, model, test, accuracy),
            missed=facts.missed,
            files=facts.files,
            findings=facts.findings,
            check=facts.check,
            mistakes=worst_mistakes(model, test, facts.data, facts.curation),
            sections=[_classes(test, validation), _confusion(test), _calibration(test), _none(model, test), _making(facts)],
            style=Markup(style),
            policy=policy,
            version=version(),
        )
    )
    atomic_io.write_text(out, text)
    return accuracy


def _lead(facts: MadeFacts, test: Evaluation) -> str:
    classes, images = len(test.images.classes), ENGLISH.integer(len(test.images))
    return (
        f"{facts.model.name} tells {classes} classes apart. Accuracy, mistakes and calibration are those of this file on "
        f"{images} test photos, which neither trained it nor chose anything about it."
    )


def _numbers(facts: MadeFacts, model: Model, test: Evaluation, accuracy: Share) -> list[Fact]:
    table, percent, integer = layer_table(model.folded().config), ENGLISH.percent, ENGLISH.integer
    interval = f"95% interval {percent(accuracy.low)} to {percent(accuracy.high)}, of {integer(accuracy.images)} test photos"
    return [
        Fact("top-1 accuracy", percent(accuracy.share), interval),
        Fact("bytes", integer(facts.model.stat().st_size), f"{facts.model.name}, {integer(table.parameters)} parameters"),
        _ram(model),
        Fact("multiply-adds", integer(table.macs), f"a photo of {model.config.image_size} × {model.config.image_size} pixels"),
        Fact("time", f"{1000 * _seconds(model, test):.3g} ms", "a photo, in Python on the machine that made this page"),
    ]


def _ram(model: Model) -> Fact:
    """What the exported C has for feature maps; a network that was trained elsewhere may have no such form."""
    try:
        ram = ram_of(model.config)
    except NoIntegerForm as error:
        return Fact("bytes of RAM", "not known", f"because {error}")
    by_layer = ENGLISH.integer(ram.by_layer)
    return Fact("bytes of RAM", ENGLISH.integer(ram.least), f"for feature maps in the exported C; layer by layer {by_layer}")


def _seconds(model: Model, test: Evaluation) -> float:
    """Of an answer for one image, the median of some."""
    classifier, seconds = Classifier(replace(model, none_of_these=None)), []
    for number in range(TIMED + 1):
        at = number % len(test.images)
        begin = time.perf_counter()
        classifier.classify_pixels(test.images.images[at : at + 1])
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def _classes(test: Evaluation, validation: Evaluation) -> ReportSection:
    thresholds = class_thresholds(validation, PRECISION)
    counts = [scores["images"] for scores in validation.per_class.values()]
    columns = [
        Column("class"),
        Column("test photos", "integer"),
        Column("precision", "percent"),
        Column("recall", "percent"),
        Column("validation photos", "integer"),
        Column("threshold for 95% precision", "loss"),
    ]
    rows = [
        [name, scores["images"], scores["precision"], scores["recall"], count, "none" if threshold is None else threshold]
        for (name, scores), count, threshold in zip(test.per_class.items(), counts, thresholds, strict=True)
    ]
    text = (
        "Precision: of the test photos answered so, the share that is right. Recall: of the class's test photos, the share "
        "that is found. Of the validation photos answered so with a probability of at least the threshold, 95% are right; it is "
        "the smallest such threshold, found without the test photos, and worth little where a class has few validation photos."
    )
    return ReportSection("Class by class", [Paragraph(text), Table("classes", "Classes", columns, rows)])


def _confusion(test: Evaluation) -> ReportSection:
    if len(test.images.classes) > MAX_CLASSES:
        text = f"A matrix of more than {MAX_CLASSES} classes is not readable; squeezekit evaluate --pictures draws it."
        return ReportSection("Confusion matrix", [Paragraph(text)])
    return ReportSection("Confusion matrix", [charts.confusion(test.confusion, test.images.classes, ENGLISH)])


def _calibration(test: Evaluation) -> ReportSection:
    text = (
        f"Probabilities were calibrated on validation photos. On the test photos they differ by "
        f"{ENGLISH.percent(test.calibration_error)} on average from the share of right answers "
        "(expected calibration error, 15 bins; Guo et al., 2017)."
    )
    return ReportSection("Calibration", [Paragraph(text), charts.reliability(confidence_bins(test), ENGLISH)])


def _none(model: Model, test: Evaluation) -> ReportSection:
    if model.none_of_these is None:
        text = "The file has no rule for pictures of none of the classes: it answers each with one of them."
        return ReportSection("None of these", [Paragraph(text)])
    kept, percent = kept_share(model, test.images), ENGLISH.percent
    text = (
        "A picture of none of the classes is called so, by a rule over all logits that keeps 95% of the validation photos. Of "
        f"the test photos it keeps {percent(kept.share)} (95% interval {percent(kept.low)} to {percent(kept.high)}). The same "
        "rule decides in Python, over HTTP, in C and in the page. How many foreign pictures it turns away, of a folder you have:"
    )
    command = f"squeezekit evaluate {Path(model.name).name} --data PHOTOS --foreign FOLDER-OF-OTHER-PICTURES"
    return ReportSection("None of these", [Paragraph(text), Listing("Command", command)])


def _making(facts: MadeFacts) -> ReportSection:
    run = Run(facts.run)
    summary, recipe, network = run.summary or {}, run.config.recipe, run.config.network
    text = (
        f"The network {network.name} learnt from images of {network.image_size} × {network.image_size} pixels with the recipe "
        f"{recipe.name}: {summary['epochs']} epochs, of which epoch {summary['best_epoch']} was the best. The folder "
        f"{facts.run.name} has every setting (config.toml); squeezekit report draws its curves."
    )
    rows = [[name, seconds] for name, seconds in facts.seconds.items()]
    table = Table("steps", "Seconds of each step", [Column("step"), Column("seconds", "number")], rows)
    return ReportSection("How it was made", [Paragraph(text), table])
