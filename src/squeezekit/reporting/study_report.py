"""The reports of a search folder and of a cross-validation folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from squeezekit.networks.stored_names import RECIPES_OF_0_1
from squeezekit.reporting import charts
from squeezekit.reporting.document import Block, Column, Listing, Paragraph, ReportSection, Table
from squeezekit.reporting.importance import is_whole_grid, main_effects
from squeezekit.reporting.localization import Language
from squeezekit.reporting.run_report import RunReport
from squeezekit.training.recipe import named_recipe

SIZES = ("parameters", "macs", "bytes", "ram")
# Heat maps are of these fields where both vary, else of the two fields of most influence.
PREFERRED_PAIR = ("squeeze_ratio", "share_3x3")
Row = Mapping[str, Any]


class StudyReport:
    """The sections of one finished search, from its `summary.json`."""

    def __init__(self, folder: Path, summary: Mapping[str, Any], language: Language) -> None:
        self.folder, self.summary, self.language = folder, summary, language
        self.plan: Mapping[str, Any] = summary["plan"]
        self.rows: list[Row] = [{**row, "curve": [_loss(loss) for loss in row["curve"]]} for row in summary["rows"]]
        self.curves = dict(zip((row["point"] for row in self.rows), summary["curves"], strict=True))
        self.fields = list(dict.fromkeys(name for row in self.rows for name in row["fields"]))
        self.size: str = self.plan["size"]

    @property
    def title(self) -> str:
        """The title of the page."""
        return self.language.text("title study", data=self._data())

    def sections(self) -> list[ReportSection]:
        """In the order of the report; the recommended run's own report comes last."""
        found = [self._aim(), self._rates(), self._trials(), self._pairs(), self._influence(), self._front(), self._recommended()]
        sections = [section for section in found if section]
        run = self.summary["run"]
        if run and (self._run_folder() / "summary.json").exists():
            sections += RunReport(self._run_folder(), self.language, self.summary["test"]).sections()
        return [*sections, plan_section(self.plan, self.language)]

    def _run_folder(self) -> Path:
        # Beside the summary, so that a study may be moved.
        return self.folder / Path(self.summary["run"]).name

    def _data(self) -> str:
        return Path(self.plan["fields"]["data"]).name

    def _aim(self) -> ReportSection:
        language, states = self.language, Counter(row["state"] for row in self.rows)
        counts = {
            "trials": language.integer(len(self.rows)),
            "done": states["done"],
            "stopped": states["stopped early"],
            "failed": states["failed"],
            "large": states["too large"],
        }
        names = {"network": self.plan["network"], "recipe": self.plan["recipe"], "data": self._data()}
        recipe = RECIPES_OF_0_1.get(self.plan["recipe"], self.plan["recipe"])
        epochs = self.plan["fields"].get("epochs") or named_recipe(recipe).epochs
        return ReportSection(
            language.text("aim"),
            [Paragraph(language.text("aim study", fields=", ".join(self.fields), epochs=epochs, **counts, **names))],
        )

    def _rates(self) -> ReportSection | None:
        """The best trial of each learning rate, where that varies among a few values."""
        best: dict[float, Row] = {}
        for row in self.rows:
            rate = row["fields"].get("learning_rate")
            if rate is not None and row["curve"] and (rate not in best or min(row["curve"]) < min(best[rate]["curve"])):
                best[rate] = row
        if not 2 <= len(best) <= len(charts.COLORS):
            return None
        chosen = [best[rate] for rate in sorted(best)]
        language = self.language
        plot = charts.rate_curves(chosen, [self.curves[row["point"]] for row in chosen], language)
        return ReportSection(language.text("rates"), [plot, Paragraph(language.text("rates text"))])

    def _trials(self) -> ReportSection:
        language = self.language
        titles = [
            language.text("trial"),
            language.text("state"),
            *self.fields,
            language.text("validation loss"),
            language.text("standard error"),
        ]
        titles += [language.text("validation accuracy"), language.text("curve"), *(language.text(name) for name in SIZES)]
        titles += [language.text("seconds"), language.text("reason")]
        kinds = [
            "integer",
            "text",
            *["number"] * len(self.fields),
            "loss",
            "loss",
            "percent",
            "text",
            *["integer"] * 4,
            "integer",
            "text",
        ]
        columns = [Column(title, kind) for title, kind in zip(titles, kinds, strict=True)]  # type: ignore[arg-type]
        rows = [self._cells(row) for row in self.rows]
        marked = next((i for i, row in enumerate(self.rows) if row["point"] == self.summary["recommended"]), None)
        return ReportSection(
            language.text("all trials"),
            [Table("trials", language.text("all trials"), columns, rows, explored=True, marked=marked)],
        )

    def _cells(self, row: Row) -> list[Any]:
        language, curve = self.language, self.curves[row["point"]]
        fields = [_plain(row["fields"].get(name)) for name in self.fields]
        sizes = [row["sizes"].get(name) for name in SIZES]
        name = language.text(f"state {curve}") if curve else ""
        results = [row["loss"], row["loss_error"], row["accuracy"], name]
        return [row["point"], language.text(f"state {row['state']}"), *fields, *results, *sizes, row["seconds"], row["reason"]]

    def _pairs(self) -> ReportSection | None:
        """A heat map of two fields that both have a few values."""
        few = [name for name in self.fields if 2 <= len({_plain(row["fields"].get(name)) for row in self._trained()}) <= 12]
        pair = PREFERRED_PAIR if set(PREFERRED_PAIR) <= set(few) else self._most_influential(few)
        if pair is None:
            return None
        cells: dict[tuple[Any, Any], list[float]] = {}
        for row in self._trained():
            cells.setdefault((_plain(row["fields"][pair[0]]), _plain(row["fields"][pair[1]])), []).append(self._loss(row))
        language = self.language
        means = {key: float(np.mean(losses)) for key, losses in cells.items()}
        return ReportSection(language.text("heat"), [charts.heat_map(means, *pair, self._epoch(), language)])

    def _most_influential(self, fields: Sequence[str]) -> tuple[str, str] | None:
        ordered = sorted(fields, key=lambda name: -self._shares.get(name, 0))
        return (ordered[0], ordered[1]) if len(ordered) > 1 else None

    def _influence(self) -> ReportSection | None:
        language, shares = self.language, self._shares
        if len(shares) < 2:
            return None
        method = "grid" if is_whole_grid(self._points(), list(shares)) else "forest"
        text = language.text(f"influence {method}", count=len(self._trained()), epoch=self._epoch())
        plot = charts.bars(
            "influence", language.text("influence plot"), shares, (language.text("field"), language.text("share")), language
        )
        return ReportSection(language.text("influence"), [plot, Paragraph(text)])

    def _trained(self) -> list[Row]:
        return [row for row in self.rows if row["curve"]]

    def _epoch(self) -> int:
        """The last one that every trained trial has reached."""
        return min(len(row["curve"]) for row in self._trained())

    def _loss(self, row: Row) -> float:
        guess = math.log(self.plan["fields"]["classes"])
        loss = row["curve"][self._epoch() - 1]
        return min(loss, guess) if math.isfinite(loss) else guess

    def _points(self) -> list[dict[str, Any]]:
        return [{name: _plain(row["fields"].get(name)) for name in self.fields} for row in self._trained()]

    @cached_property
    def _shares(self) -> dict[str, float]:
        return main_effects(self._points(), self.fields, [self._loss(row) for row in self._trained()])

    def _front(self) -> ReportSection:
        language, done = self.language, [row for row in self.rows if row["state"] == "done"]
        return ReportSection(
            language.text("front"), [charts.pareto(done, self.summary["front"], self.size, self.summary["recommended"], language)]
        )

    def _recommended(self) -> ReportSection:
        language = self.language
        row = next(row for row in self.rows if row["point"] == self.summary["recommended"])
        best = min((one for one in self.rows if one["state"] == "done"), key=lambda one: one["loss"])
        fields = ", ".join(f"{name} {language.shown(_plain(value))}" for name, value in row["fields"].items())
        numbers = {"loss": row["loss"], "best": best["loss"], "error": best["loss_error"]}
        text = language.text(
            "recommended text",
            trial=row["point"],
            fields=fields,
            accuracy=language.percent(row["accuracy"], 2),
            size=f"{language.integer(row['sizes'][self.size])} {language.text(self.size)}",
            **{name: language.number(number, 4) for name, number in numbers.items()},
        )
        blocks: list[Block] = [Paragraph(text)]
        if test := self.summary["test"]:
            numbers = {"accuracy": language.percent(test["accuracy"], 2), "loss": language.number(test["loss"], 4)}
            blocks.append(Paragraph(language.text("recommended test", **numbers)))
        if not self.summary["run"]:
            blocks.append(Paragraph(language.text("elsewhere")))
        return ReportSection(language.text("recommended"), blocks)


class CrossValidationReport:
    """The sections of one finished cross-validation, from its `crossval.json`."""

    def __init__(self, found: Mapping[str, Any], language: Language) -> None:
        self.found, self.language = found, language
        self.plan: Mapping[str, Any] = found["plan"]

    @property
    def title(self) -> str:
        """The title of the page."""
        return self.language.text("title crossval", data=Path(self.plan["fields"]["data"]).name)

    def sections(self) -> list[ReportSection]:
        """Aim, spread, each training, comparisons, plan."""
        language, found = self.language, self.found
        names = {"network": self.plan["network"], "recipe": self.plan["recipe"], "data": Path(self.plan["fields"]["data"]).name}
        counts = {"count": len(found["rows"]), "folds": found["folds"], "repeats": found["repeats"]}
        aim = ReportSection(language.text("aim"), [Paragraph(language.text("aim crossval", **names, **counts))])
        return [aim, self._spread(), *self._against(), plan_section(self.plan, language)]

    def _spread(self) -> ReportSection:
        language, found = self.language, self.found
        columns = [
            Column(language.text("quantity")),
            *(Column(language.text(name), "number") for name in ("mean", "deviation", "low", "high")),
        ]
        rows = [
            [language.text(name), *(found[name][key] for key in ("mean", "deviation", "low", "high"))]
            for name in ("accuracy", "loss")
        ]
        table = Table("spread", language.text("spread table", count=len(found["rows"])), columns, rows)
        text = language.text("spread text", count=len(found["rows"]), others=found["folds"] - 1)
        return ReportSection(
            language.text("spread"), [table, Paragraph(text), charts.folds(found["rows"], found["accuracy"], language)]
        )

    def _against(self) -> list[ReportSection]:
        language, comparisons = self.language, self.found["against"]
        if not comparisons:
            return []
        other = Path(next(iter(comparisons.values()))["other"]).name
        texts = [
            Paragraph(
                language.text(
                    "against text",
                    quantity=language.text(name),
                    difference=language.number(one["difference"], 4),
                    p=language.number(one["p"]),
                )
            )
            for name, one in comparisons.items()
        ]
        return [ReportSection(language.text("against", other=other), texts)]


def plan_section(plan: Mapping[str, Any], language: Language) -> ReportSection:
    """The plan of the study, without the folder of its images on this machine."""
    fields = {**plan["fields"], "data": Path(plan["fields"]["data"]).name}
    return ReportSection(language.text("plan"), [Listing(language.text("plan"), tomli_w.dumps({**plan, "fields": fields}))])


def _loss(value: float | None) -> float:
    """A loss that is no number may have been written as null."""
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    """Lists, such as positions of pooling layers, as text."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
