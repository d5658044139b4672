"""What a run folder tells."""

from __future__ import annotations

import base64
import csv
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
from squeezekit.networks.layer_table import LayerTable, layer_table
from squeezekit.reporting import charts
from squeezekit.reporting.document import Block, Column, Listing, Paragraph, Pictures, Section, Table
from squeezekit.reporting.language import Language
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.run_folder import Run

SAMPLES = 8
# More make no readable picture.
MOST_CLASSES = 40


class RunStory:
    """The sections of one finished run; `images` are looked at where they still are what they were.

    `test` is what somebody else measured of it on the test images: accuracy (0…1) and loss.
    """

    def __init__(self, run: Run, language: Language, test: Mapping[str, float] | None = None) -> None:
        if run.summary is None:
            raise SqueezekitError(f"{run.folder}: is not finished; go on with squeezekit train --resume --out {run.folder}")
        self.run, self.language, self.summary = run, language, run.summary
        self.test = test or run.summary.get("test")
        self.table: LayerTable = layer_table(run.config.network)
        self.source = _images(run)

    @property
    def title(self) -> str:
        """Of a page about this run alone."""
        return self.language.text("title run", network=self.run.config.network.name, data=_name(self.run.data["source"]))

    def aim(self) -> Section:
        """What was to be learnt."""
        say, config = self.language, self.run.config
        numbers = {"parameters": say.integer(self.summary["parameters"]), "macs": say.integer(self.table.macs)}
        names = {"network": config.network.name, "recipe": config.recipe.name, "data": _name(self.run.data["source"])}
        return Section(say.text("aim"), [Paragraph(say.text("aim run", classes=config.network.classes, **numbers, **names))])

    def sections(self) -> list[Section]:
        """All that follows the aim, in the order of the report."""
        return [
            self._data(),
            self._split(),
            self._architecture(),
            self._training(),
            self._curves(),
            self._results(),
            self._settings(),
        ]

    def _data(self) -> Section:
        say, network, data = self.language, self.run.config.network, self.run.data
        facts = {"data": _name(data["source"]), "size": network.image_size, "channels": network.channels}
        blocks: list[Block] = [Paragraph(say.text("data text", classes=network.classes, **facts))]
        if self.source is None:
            return Section(say.text("data"), [*blocks, Paragraph(say.text("data missing"))])
        training, test, split = self.source.training, self.source.test, self.run.split
        parts = {
            "training": training.labels[split.training],
            "validation": training.labels[split.validation],
            "test": test.labels,
        }
        counts = {name: np.bincount(labels, minlength=network.classes) for name, labels in parts.items()}
        columns = [Column(say.text("class")), *(Column(say.text(name), "integer") for name in counts)]
        rows = [[name, *(int(count[i]) for count in counts.values())] for i, name in enumerate(data["classes"])]
        blocks.append(Table("classes", say.text("counts"), columns, rows))
        blocks.append(Pictures(say.text("samples"), samples(training, split.training)))
        return Section(say.text("data"), blocks)

    def _split(self) -> Section:
        say, split, settings = self.language, self.run.split, self.run.config.run
        share = len(split.validation) / (len(split.validation) + len(split.training))
        counts = {"training": say.integer(len(split.training)), "validation": say.integer(len(split.validation))}
        return Section(
            say.text("split"), [Paragraph(say.text("split text", share=say.percent(share), seed=settings.seed, **counts))]
        )

    def _architecture(self) -> Section:
        say, table = self.language, self.table
        titles = ("layer", "type", "input", "output", "parameters", "macs", "remark")
        columns = [Column(say.text(title), "integer" if title in ("parameters", "macs") else "text") for title in titles]
        rows = [
            [row.layer, row.type, _shape(row.input), _shape(row.output), row.parameters, row.macs, row.remark]
            for row in table.layers
        ]
        numbers = {"parameters": table.parameters, "macs": table.macs, "activations": table.activation_bytes}
        text = say.text("architecture text", **{name: say.integer(number) for name, number in numbers.items()})
        blocks: list[Block] = [
            Paragraph(text),
            charts.diagram(table.layers, say),
            Table("layers", say.text("layers"), columns, rows),
        ]
        return Section(say.text("architecture"), blocks)

    def _training(self) -> Section:
        say, recipe = self.language, self.run.config.recipe
        values = {"recipe": recipe.name, "optimizer": recipe.optimizer, "schedule": recipe.schedule}
        numbers = {"rate": say.number(recipe.learning_rate), "batch": recipe.batch_size, "epochs": recipe.epochs}
        text = say.text("training text", **values, **numbers)
        if recipe.patience:
            text += " " + say.text("patience text", patience=recipe.patience)
        return Section(say.text("training section"), [Paragraph(text)])

    def _curves(self) -> Section:
        say, summary, history = self.language, self.summary, _history(self.run.folder)
        classes = self.run.config.network.classes
        untrained = {"loss": say.number(summary["untrained_loss"], 4), "guess": say.number(math.log(classes), 4)}
        done = {"epochs": self.run.config.recipe.epochs, "done": summary["epochs"], "best": summary["best_epoch"]}
        plots = [charts.curves(what, history, self._falls(history), summary["best_epoch"], say) for what in ("loss", "accuracy")]
        texts = [
            Paragraph(say.text("untrained", classes=classes, **untrained)),
            Paragraph(say.text("stopped", seconds=say.integer(summary["seconds"]), **done)),
        ]
        return Section(say.text("curves"), [*texts, *plots])

    def _falls(self, history: list[dict[str, float]]) -> list[int]:
        """Epochs that begin with a lower rate; only a plateau's are events."""
        if self.run.config.recipe.schedule != "plateau":
            return []
        rates = [row["learning_rate"] for row in history]
        return [int(row["epoch"]) for row, before in zip(history[1:], rates, strict=False) if row["learning_rate"] < before]

    def _results(self) -> Section:
        say, validation = self.language, self.summary["validation"]
        measured = {"accuracy": say.percent(validation["accuracy"], 2), "loss": say.number(validation["loss"], 4)}
        blocks: list[Block] = [Paragraph(say.text("validation result", **measured))]
        if not self.test or self.source is None:
            return Section(say.text("results"), [*blocks, *self._test_alone()])
        return Section(say.text("results"), [*blocks, *test_blocks(evaluate(self.run.folder), say)])

    def _test_alone(self) -> list[Block]:
        say, test = self.language, self.test
        if not test:
            return [Paragraph(say.text("not tested"))]
        return [
            Paragraph(say.text("recommended test", accuracy=say.percent(test["accuracy"], 2), loss=say.number(test["loss"], 4)))
        ]

    def _settings(self) -> Section:
        say, summary = self.language, self.summary
        facts = {**summary["versions"], "precision": summary["precision"], "fingerprint": summary["fingerprint"][:16]}
        config = self.run.config
        # Where the images lie on this machine is nobody's business.
        place = config.run.model_copy(update={"data": _name(config.run.data)})
        listing = Listing(say.text("config"), config.model_copy(update={"run": place}).to_toml())
        return Section(say.text("settings"), [Paragraph(say.text("settings text", **facts)), listing])


def test_blocks(measured: Evaluation, language: Language) -> list[Block]:
    """Test images, class by class."""
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
    if len(classes) <= MOST_CLASSES:
        blocks.append(charts.confusion(measured.confusion, classes, language))
    return blocks


def samples(images: ImageSet, indices: Any) -> list[tuple[str, str]]:
    """The first images of each class, side by side, as PNG."""
    rows = []
    for label, name in enumerate(images.classes[:MOST_CLASSES]):
        chosen = [i for i in indices if images.labels[i] == label][:SAMPLES]
        if chosen:
            strip = np.concatenate([np.asarray(images.images[i]) for i in chosen], axis=1)
            rows.append((name, _data_address(strip)))
    return rows


def _data_address(pixels: Any) -> str:
    picture, data = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels), io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _images(run: Run) -> ImageSource | None:
    """The run's images, None where they are gone or have changed."""
    network = run.config.network
    try:
        source = load_images(run.config.run.data, image_size=network.image_size, channels=network.channels)
    except SqueezekitError:
        return None
    return source if (source.training.fingerprint, source.test.fingerprint) == run.fingerprints else None


def _history(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _name(source: str) -> str:
    """Of images: the last part of a path says enough, and no more of this machine."""
    return Path(source).name or source


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
