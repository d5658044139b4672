"""The report of a run folder."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.sources import load_images
from squeezekit.inference.evaluation import Evaluation, evaluate
from squeezekit.integer.outline import NoIntegerForm, ram_of
from squeezekit.networks.layer_table import LayerTable, layer_table
from squeezekit.reporting import charts
from squeezekit.reporting.document import Block, Column, ImageRows, Listing, Paragraph, ReportSection, Table
from squeezekit.reporting.localization import Language
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.run_folder import Run

SAMPLES = 8
# More are not readable in a plot.
MAX_CLASSES = 40


class RunReport:
    """The sections about the finished run in a folder; its images are shown where they are unchanged.

    `test` are accuracy (0…1) and loss on the test images where a search has measured them. Raises SqueezekitError for a run that
    is not finished.
    """

    def __init__(self, folder: Path, language: Language, test: Mapping[str, float] | None = None) -> None:
        run = Run(folder)
        if run.summary is None:
            raise SqueezekitError(f"{run.folder}: is not finished; go on with {run.resume_command}")
        self.run, self.language, self.summary = run, language, run.summary
        self.test = test or run.summary.get("test")
        self.table: LayerTable = layer_table(run.config.network)
        self.source = _images(run)

    @property
    def title(self) -> str:
        """The title of a page about this run alone."""
        return self.language.text("title run", network=self.run.config.network.name, data=_name(self.run.data["source"]))

    def aim(self) -> ReportSection:
        """The task: network, data, recipe."""
        language, config = self.language, self.run.config
        numbers = {"parameters": language.integer(self.summary["parameters"]), "macs": language.integer(self.table.macs)}
        names = {"network": config.network.name, "recipe": config.recipe.name, "data": _name(self.run.data["source"])}
        return ReportSection(
            language.text("aim"), [Paragraph(language.text("aim run", classes=config.network.classes, **numbers, **names))]
        )

    def sections(self) -> list[ReportSection]:
        """The sections after the aim, in their order."""
        return [
            self._data(),
            self._split(),
            self._architecture(),
            self._training(),
            self._curves(),
            self._results(),
            self._settings(),
        ]

    def _data(self) -> ReportSection:
        language, network, data = self.language, self.run.config.network, self.run.data
        facts = {"data": _name(data["source"]), "size": network.image_size, "channels": network.channels}
        blocks: list[Block] = [Paragraph(language.text("data text", classes=network.classes, **facts))]
        if self.source is None:
            return ReportSection(language.text("data"), [*blocks, Paragraph(language.text("data missing"))])
        training, test, split = self.source.training, self.source.test, self.run.split
        parts = {
            "training": training.labels[split.training],
            "validation": training.labels[split.validation],
            "test": test.labels,
        }
        counts = {name: np.bincount(labels, minlength=network.classes) for name, labels in parts.items()}
        columns = [Column(language.text("class")), *(Column(language.text(name), "integer") for name in counts)]
        rows = [[name, *(int(count[i]) for count in counts.values())] for i, name in enumerate(data["classes"])]
        blocks.append(Table("classes", language.text("counts"), columns, rows))
        blocks.append(ImageRows(language.text("samples"), samples(training, split.training)))
        return ReportSection(language.text("data"), blocks)

    def _split(self) -> ReportSection:
        language, split, settings = self.language, self.run.split, self.run.config.run
        if not len(split.validation):
            text = language.text("all trained", training=language.integer(len(split.training)))
            return ReportSection(language.text("split"), [Paragraph(text)])
        share = len(split.validation) / (len(split.validation) + len(split.training))
        counts = {"training": language.integer(len(split.training)), "validation": language.integer(len(split.validation))}
        return ReportSection(
            language.text("split"),
            [Paragraph(language.text("split text", share=language.percent(share), seed=settings.seed, **counts))],
        )

    def _architecture(self) -> ReportSection:
        language, table = self.language, self.table
        titles = ("layer", "type", "input", "output", "parameters", "macs", "remark")
        columns = [Column(language.text(title), "integer" if title in ("parameters", "macs") else "text") for title in titles]
        rows = [
            [row.layer, row.type, _shape(row.input), _shape(row.output), row.parameters, row.macs, row.remark]
            for row in table.layers
        ]
        numbers = {"parameters": table.parameters, "macs": table.macs}
        text = language.text("architecture text", **{name: language.integer(number) for name, number in numbers.items()})
        blocks: list[Block] = [
            Paragraph(f"{text} {self._ram()}"),
            charts.diagram(table.layers, language),
            Table("layers", language.text("layers"), columns, rows),
        ]
        return ReportSection(language.text("architecture"), blocks)

    def _ram(self) -> str:
        try:
            return self.language.text("ram text", ram=self.language.integer(ram_of(self.run.config.network).least))
        except NoIntegerForm:
            return self.language.text("ram unknown")

    def _training(self) -> ReportSection:
        language, recipe = self.language, self.run.config.recipe
        values = {"recipe": recipe.name, "optimizer": recipe.optimizer, "schedule": recipe.schedule}
        numbers = {"rate": language.number(recipe.learning_rate), "batch": recipe.batch_size, "epochs": recipe.epochs}
        text = language.text("training text", **values, **numbers)
        if recipe.patience:
            text += " " + language.text("patience text", patience=recipe.patience)
        return ReportSection(language.text("training section"), [Paragraph(text)])

    def _curves(self) -> ReportSection:
        language, summary, history = self.language, self.summary, self._history()
        classes = self.run.config.network.classes
        untrained = {"loss": language.number(summary["untrained_loss"], 4), "guess": language.number(math.log(classes), 4)}
        done = {"epochs": self.run.config.recipe.epochs, "done": summary["epochs"], "best": summary["best_epoch"]}
        plots = [
            charts.curves(what, history, self._falls(history), summary["best_epoch"], language) for what in ("loss", "accuracy")
        ]
        seconds = language.integer(summary["seconds"])
        if summary.get("validation"):
            texts = [
                Paragraph(language.text("untrained", classes=classes, **untrained)),
                Paragraph(language.text("stopped", seconds=seconds, **done)),
            ]
        else:
            texts = [Paragraph(language.text("last weights", seconds=seconds, done=summary["epochs"]))]
        return ReportSection(language.text("curves"), [*texts, *plots])

    def _history(self) -> list[dict[str, float]]:
        if not (history := self.run.history):
            raise SqueezekitError(f"{self.run.folder / 'metrics.csv'}: holds no epoch; train again")
        return history

    def _falls(self, history: list[dict[str, float]]) -> list[int]:
        """Epochs that begin with a lower learning rate, where the schedule is `plateau`; others fall all the time."""
        if self.run.config.recipe.schedule != "plateau":
            return []
        rates = [row["learning_rate"] for row in history]
        return [int(row["epoch"]) for row, before in zip(history[1:], rates, strict=False) if row["learning_rate"] < before]

    def _results(self) -> ReportSection:
        language, blocks = self.language, list[Block]()
        if validation := self.summary.get("validation"):
            measured = {"accuracy": language.percent(validation["accuracy"], 2), "loss": language.number(validation["loss"], 4)}
            blocks.append(Paragraph(language.text("validation result", **measured)))
        if not self.test or self.source is None:
            return ReportSection(language.text("results"), [*blocks, *self._test_alone()])
        return ReportSection(language.text("results"), [*blocks, *test_blocks(evaluate(self.run.folder), language)])

    def _test_alone(self) -> list[Block]:
        language, test = self.language, self.test
        if not test:
            return [Paragraph(language.text("not tested"))]
        return [
            Paragraph(
                language.text(
                    "recommended test", accuracy=language.percent(test["accuracy"], 2), loss=language.number(test["loss"], 4)
                )
            )
        ]

    def _settings(self) -> ReportSection:
        language, summary = self.language, self.summary
        facts = {**summary["versions"], "precision": summary["precision"], "fingerprint": summary["fingerprint"][:16]}
        config = self.run.config
        # A report does not publish paths of this machine.
        names = ("data", "labels", "leave_out")
        place = config.run.model_copy(update={name: _name(getattr(config.run, name)) for name in names})
        listing = Listing(language.text("config"), config.model_copy(update={"run": place}).to_toml())
        return ReportSection(language.text("settings"), [Paragraph(language.text("settings text", **facts)), listing])


def test_blocks(measured: Evaluation, language: Language) -> list[Block]:
    """Results on the test images, by class."""
    classes = list(measured.per_class)
    numbers = {"accuracy": language.percent(measured.accuracy, 2), "loss": language.number(measured.loss, 4)}
    columns = [
        Column(language.text("class")),
        *(Column(language.text(name), "percent") for name in ("precision", "recall", "f1")),
    ]
    columns.append(Column(language.text("images"), "integer"))
    rows = [
        [name, *(found[key] for key in ("precision", "recall", "f1", "images"))] for name, found in measured.per_class.items()
    ]
    blocks: list[Block] = [
        Paragraph(language.text("test result", images=language.integer(len(measured.images)), **numbers)),
        Table("per-class", language.text("per class"), columns, rows),
    ]
    if len(classes) <= MAX_CLASSES:
        blocks.append(charts.confusion(measured.confusion, classes, language))
    return blocks


def samples(images: ImageSet, indices: Any) -> list[tuple[str, str]]:
    """The first images of each class, side by side, as PNG."""
    rows = []
    for label, name in enumerate(images.classes[:MAX_CLASSES]):
        chosen = [i for i in indices if images.labels[i] == label][:SAMPLES]
        if chosen:
            strip = np.concatenate([np.asarray(images.images[i]) for i in chosen], axis=1)
            rows.append((name, _data_address(strip)))
    return rows


def _data_address(pixels: Any) -> str:
    image, data = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels), io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _images(run: Run) -> ImageSource | None:
    """The run's images, None where they are gone or have changed."""
    network, given = run.config.network, run.config.run
    try:
        source = load_images(
            given.data,
            image_size=network.image_size,
            channels=network.channels,
            max_pixels=given.max_pixels,
            curation=given.curation,
        )
    except SqueezekitError:
        return None
    return source if (source.training.fingerprint, source.test.fingerprint) == run.fingerprints else None


def _name(source: str) -> str:
    """The last part of a path, so that a report does not publish folders of this machine."""
    return Path(source).name or source


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
