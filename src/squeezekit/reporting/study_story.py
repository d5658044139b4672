"""What the folder of a search, or of a cross-validation, tells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from squeezekit.reporting import charts
from squeezekit.reporting.document import Block, Column, Listing, Paragraph, Section, Table
from squeezekit.reporting.influence import is_whole_grid, shares_of_variance
from squeezekit.reporting.language import Language
from squeezekit.reporting.run_story import RunStory
from squeezekit.training.recipe import named_recipe
from squeezekit.training.run_folder import Run

SIZES = ("parameters", "macs", "bytes", "ram")
# Heat maps of these where both vary (the report's), else of the two fields of most influence.
REPORTS_FIELDS = ("squeeze_ratio", "share_3x3")
Row = Mapping[str, Any]


class StudyStory:
    """The sections of one finished search, from its `summary.json`."""

    def __init__(self, folder: Path, summary: Mapping[str, Any], language: Language) -> None:
        self.folder, self.summary, self.language = folder, summary, language
        self.plan: Mapping[str, Any] = summary["plan"]
        self.rows: list[Row] = summary["rows"]
        self.curves = dict(zip((row["point"] for row in self.rows), summary["curves"], strict=True))
        self.fields = list(dict.fromkeys(name for row in self.rows for name in row["fields"]))
        self.size: str = self.plan["size"]

    @property
    def title(self) -> str:
        """Of the page."""
        return self.language.text("title study", data=self._data())

    def sections(self) -> list[Section]:
        """In the order of the report; the recommended run's own story comes last."""
        found = [self._aim(), self._rates(), self._trials(), self._pairs(), self._influence(), self._front(), self._recommended()]
        sections = [section for section in found if section]
        run = self.summary["run"]
        if run and (self._run_folder() / "summary.json").exists():
            sections += RunStory(Run(self._run_folder()), self.language, self.summary["test"]).sections()
        return [*sections, plan_section(self.plan, self.language)]

    def _run_folder(self) -> Path:
        # Beside the summary, wherever the study has been moved.
        return self.folder / Path(self.summary["run"]).name

    def _data(self) -> str:
        return Path(self.plan["fields"]["data"]).name

    def _aim(self) -> Section:
        say, states = self.language, Counter(row["state"] for row in self.rows)
        counts = {
            "trials": say.integer(len(self.rows)),
            "done": states["done"],
            "stopped": states["stopped early"],
            "failed": states["failed"],
            "large": states["too large"],
        }
        names = {"network": self.plan["network"], "recipe": self.plan["recipe"], "data": self._data()}
        epochs = self.plan["fields"].get("epochs", named_recipe(self.plan["recipe"]).epochs)
        return Section(
            say.text("aim"), [Paragraph(say.text("aim study", fields=", ".join(self.fields), epochs=epochs, **counts, **names))]
        )

    def _rates(self) -> Section | None:
        """The best trial of each learning rate, where that varies among a few values."""
        best: dict[float, Row] = {}
        for row in self.rows:
            rate = row["fields"].get("learning_rate")
            if rate is not None and row["curve"] and (rate not in best or min(row["curve"]) < min(best[rate]["curve"])):
                best[rate] = row
        if not 2 <= len(best) <= len(charts.COLOURS):
            return None
        chosen = [best[rate] for rate in sorted(best)]
        say = self.language
        plot = charts.rate_curves(chosen, [self.curves[row["point"]] for row in chosen], say)
        return Section(say.text("rates"), [plot, Paragraph(say.text("rates text"))])

    def _trials(self) -> Section:
        say = self.language
        titles = [say.text("trial"), say.text("state"), *self.fields, say.text("validation loss"), say.text("standard error")]
        titles += [say.text("validation accuracy"), say.text("curve"), *(say.text(name) for name in SIZES)]
        titles += [say.text("seconds"), say.text("reason")]
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
        return Section(
            say.text("all trials"), [Table("trials", say.text("all trials"), columns, rows, explored=True, marked=marked)]
        )

    def _cells(self, row: Row) -> list[Any]:
        say, curve = self.language, self.curves[row["point"]]
        fields = [_plain(row["fields"].get(name)) for name in self.fields]
        sizes = [row["sizes"].get(name) for name in SIZES]
        name = say.text(f"state {curve}") if curve else ""
        results = [row["loss"], row["loss_error"], row["accuracy"], name]
        return [row["point"], say.text(f"state {row['state']}"), *fields, *results, *sizes, row["seconds"], row["reason"]]

    def _pairs(self) -> Section | None:
        """A heat map of two fields that both have a few values."""
        few = [name for name in self.fields if 2 <= len({_plain(row["fields"].get(name)) for row in self._trained()}) <= 12]
        pair = REPORTS_FIELDS if set(REPORTS_FIELDS) <= set(few) else self._most_influential(few)
        if pair is None:
            return None
        cells: dict[tuple[Any, Any], list[float]] = {}
        for row in self._trained():
            cells.setdefault((_plain(row["fields"][pair[0]]), _plain(row["fields"][pair[1]])), []).append(self._loss(row))
        say = self.language
        means = {key: float(np.mean(losses)) for key, losses in cells.items()}
        return Section(say.text("heat"), [charts.heat_map(means, *pair, self._epoch(), say)])

    def _most_influential(self, fields: Sequence[str]) -> tuple[str, str] | None:
        ordered = sorted(fields, key=lambda name: -self._shares.get(name, 0))
        return (ordered[0], ordered[1]) if len(ordered) > 1 else None

    def _influence(self) -> Section | None:
        say, shares = self.language, self._shares
        if len(shares) < 2:
            return None
        method = "grid" if is_whole_grid(self._points(), list(shares)) else "forest"
        text = say.text(f"influence {method}", count=len(self._trained()), epoch=self._epoch())
        plot = charts.bars("influence", say.text("influence plot"), shares, (say.text("field"), say.text("share")), say)
        return Section(say.text("influence"), [plot, Paragraph(text)])

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
        return shares_of_variance(self._points(), self.fields, [self._loss(row) for row in self._trained()])

    def _front(self) -> Section:
        say, done = self.language, [row for row in self.rows if row["state"] == "done"]
        return Section(
            say.text("front"), [charts.pareto(done, self.summary["front"], self.size, self.summary["recommended"], say)]
        )

    def _recommended(self) -> Section:
        say = self.language
        row = next(row for row in self.rows if row["point"] == self.summary["recommended"])
        best = min((one for one in self.rows if one["state"] == "done"), key=lambda one: one["loss"])
        fields = ", ".join(f"{name} {say.shown(_plain(value))}" for name, value in row["fields"].items())
        numbers = {"loss": row["loss"], "best": best["loss"], "error": best["loss_error"]}
        text = say.text(
            "recommended text",
            trial=row["point"],
            fields=fields,
            accuracy=say.percent(row["accuracy"], 2),
            size=f"{say.integer(row['sizes'][self.size])} {say.text(self.size)}",
            **{name: say.number(number, 4) for name, number in numbers.items()},
        )
        blocks: list[Block] = [Paragraph(text)]
        if test := self.summary["test"]:
            numbers = {"accuracy": say.percent(test["accuracy"], 2), "loss": say.number(test["loss"], 4)}
            blocks.append(Paragraph(say.text("recommended test", **numbers)))
        if not self.summary["run"]:
            blocks.append(Paragraph(say.text("elsewhere")))
        return Section(say.text("recommended"), blocks)


class CrossValidationStory:
    """The sections of one finished cross-validation, from its `crossval.json`."""

    def __init__(self, found: Mapping[str, Any], language: Language) -> None:
        self.found, self.language = found, language
        self.plan: Mapping[str, Any] = found["plan"]

    @property
    def title(self) -> str:
        """Of the page."""
        return self.language.text("title crossval", data=Path(self.plan["fields"]["data"]).name)

    def sections(self) -> list[Section]:
        """Aim, spread, each training, comparisons, plan."""
        say, found = self.language, self.found
        names = {"network": self.plan["network"], "recipe": self.plan["recipe"], "data": Path(self.plan["fields"]["data"]).name}
        counts = {"count": len(found["rows"]), "folds": found["folds"], "repeats": found["repeats"]}
        aim = Section(say.text("aim"), [Paragraph(say.text("aim crossval", **names, **counts))])
        return [aim, self._spread(), *self._against(), plan_section(self.plan, say)]

    def _spread(self) -> Section:
        say, found = self.language, self.found
        columns = [
            Column(say.text("quantity")),
            *(Column(say.text(name), "number") for name in ("mean", "deviation", "low", "high")),
        ]
        rows = [
            [say.text(name), *(found[name][key] for key in ("mean", "deviation", "low", "high"))] for name in ("accuracy", "loss")
        ]
        table = Table("spread", say.text("spread table", count=len(found["rows"])), columns, rows)
        text = say.text("spread text", count=len(found["rows"]), others=found["folds"] - 1)
        return Section(say.text("spread"), [table, Paragraph(text), charts.folds(found["rows"], found["accuracy"], say)])

    def _against(self) -> list[Section]:
        say, comparisons = self.language, self.found["against"]
        if not comparisons:
            return []
        other = Path(next(iter(comparisons.values()))["other"]).name
        texts = [
            Paragraph(
                say.text(
                    "against text", quantity=say.text(name), difference=say.number(one["difference"], 4), p=say.number(one["p"])
                )
            )
            for name, one in comparisons.items()
        ]
        return [Section(say.text("against", other=other), texts)]


def plan_section(plan: Mapping[str, Any], say: Language) -> Section:
    """What the study depended on, but for the place of its images on this machine."""
    fields = {**plan["fields"], "data": Path(plan["fields"]["data"]).name}
    return Section(say.text("plan"), [Listing(say.text("plan"), tomli_w.dumps({**plan, "fields": fields}))])


def _plain(value: Any) -> Any:
    """Lists, such as places of poolings, as text."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
