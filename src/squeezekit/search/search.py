"""A whole search: workers train, a table shows how far they are, the result is one network."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezekit.data.batches import Batches
from squeezekit.data.sources import loaded_once
from squeezekit.search.cluster import work_on_cluster
from squeezekit.search.curves import curve_names
from squeezekit.search.plan import planned
from squeezekit.search.results import Row, as_record, front, recommended
from squeezekit.search.study import GRACE_SECONDS, Study
from squeezekit.search.workers import work
from squeezekit.system import atomic_io, presentation
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.folder_claim import claimed
from squeezekit.system.outside_files import read_outside_json
from squeezekit.system.paths import expanded
from squeezekit.system.spreadsheet import csv_text
from squeezekit.system.valid_json import as_json
from squeezekit.training.measurement import images_at_once, measure
from squeezekit.training.run_folder import Run, check_can_be_made
from squeezekit.training.run_images import images_of
from squeezekit.training.settings import data_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Found(presentation.Tabular):
    """What a search has found: every point, the name of its curve, the front (points, smallest first), the recommended one.

    `run` is the recommended one's run folder, None where it was trained on another machine; `test` its accuracy and loss on the
    test images. `to_frame()` has a row for each point.
    """

    study: str
    rows: list[Row]
    curves: list[str]
    front: list[int]
    recommended: int
    run: str | None
    test: dict[str, float]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def plot(self, size: str = "parameters") -> Figure:
        """A size against validation accuracy of all finished points, the front and the recommended one marked."""
        from squeezekit.system.figures import front_figure

        done = [row for row in self.rows if row.state == "done"]
        points = [row.point for row in done]
        if size not in done[0].sizes:
            raise SqueezekitError(f"size '{size}' is unknown; choose {', '.join(done[0].sizes)}")
        sizes, accuracies = [row.sizes[size] for row in done], [row.accuracy or 0.0 for row in done]
        best = [points.index(row.point) for row in front(done, size)]
        return front_figure(sizes, accuracies, best, points.index(self.recommended), size)

    def _shown(self) -> presentation.Row:
        best = next(row for row in self.rows if row.point == self.recommended)
        accuracies = {"validation accuracy": best.accuracy, "test accuracy": self.test.get("accuracy")}
        shown = {name: presentation.percent(accuracy) for name, accuracy in accuracies.items() if accuracy is not None}
        return {"study": self.study, "trials": len(self.rows), "recommended": self.recommended, **best.fields, **shown}

    def _records(self) -> Sequence[presentation.Row]:
        return [as_record(row) for row in self.rows]


@loaded_once()
def search(
    data: Any,
    out: str | Path,
    *,
    space: str = "classic",
    sampler: str = "tpe",
    trials: int = 50,
    jobs: int | None = None,
    cluster: str | None = None,
    pruner: str = "halving",
    size: str = "parameters",
    limits: dict[str, int] | None = None,
    storage: str | None = None,
    grace: int = GRACE_SECONDS,
    network: str | None = None,
    recipe: str | None = None,
    config: str | Path | None = None,
    test: bool = True,
    **fields: Any,
) -> Found:
    """Train networks and recipes of a space, and recommend one.

    `data` may stand in `config` as well. `space` is a built-in one or a TOML file; `sampler` grid, random, tpe or nsga2 (that one
    looks for small networks as well as good ones, and never stops a trial early); `pruner` halving, hyperband or none. `limits`
    are the most `parameters`, `macs`, `bytes` of int8 weights and `ram` of feature maps as C. `fields` are the same for all
    trials, such as `epochs` and `limit`. `jobs` trials are trained at once: one, or as many as `cluster`, the address of a Ray
    cluster, has GPUs or else nodes. Trials are run folders in `out`; the study is in `storage`, a SQLite file there unless
    another database is named, which any number of machines may share; a worker without a heartbeat for `grace` seconds counts as
    dead, and another one takes its trial. The same call continues a study that was stopped.

    Raises SqueezekitError for wrong input, RunFailed when no trial succeeds, Interrupted after Ctrl-C.
    """
    begin, folder = time.monotonic(), expanded(out)
    options = {"sampler": sampler, "trials": trials, "pruner": pruner, "size": size, "limits": limits or {}}
    seed = int(fields.get("seed", 0))
    with study_folder(folder, data, config, storage):
        plan = planned(space, data=data, network=network, recipe=recipe, config=config, fields=fields, seed=seed, **options)
        study = Study.in_folder(folder, plan, storage, grace)
        carry_out(study, folder, jobs, cluster)
        return _found(study, folder, test, time.monotonic() - begin)


@contextmanager
def study_folder(folder: Path, data: Any, config: str | Path | None, storage: str | None) -> Iterator[None]:
    """Hold the folder of a study, which several machines may share that share a `storage`; raises SqueezekitError."""
    if (folder / "config.toml").exists():
        raise SqueezekitError(f"{folder}: is a run; choose another --out")
    named = {"data": str(data)} if isinstance(data, str | Path) else {}
    check_can_be_made(folder, data_of(named, expanded(config) if config else None))
    with nullcontext() if storage else claimed(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield


def carry_out(study: Study, folder: Path, jobs: int | None, cluster: str | None) -> None:
    """Train what is left of a study here, or on a Ray cluster; raises what `search` does."""
    if cluster is None:
        work(study, folder, 1 if jobs is None else jobs)
    else:
        work_on_cluster(study, folder, cluster, jobs)


def _found(study: Study, folder: Path, test: bool, seconds: float) -> Found:
    rows, size = study.rows(), study.plan.size
    best = recommended(rows, size)
    curves = curve_names(rows, study.plan.fields["classes"])
    write_result(folder / "trials.csv", csv_of(rows, curves))
    if best is None:
        reasons = [row.reason for row in rows if row.reason]
        raise RunFailed(f"no trial succeeded; the first one: {reasons[0] if reasons else 'no reason known'}")
    run = folder / f"{best.point:04d}"
    here = (run / "summary.json").exists()
    found = Found(
        study=str(folder),
        rows=rows,
        curves=curves,
        front=[row.point for row in front(rows, size)],
        recommended=best.point,
        run=str(run) if here else None,
        test=_test(folder, run) if test and here else {},
        seconds=round(seconds, 1),
    )
    write_result(folder / "summary.json", as_json({"plan": study.plan.model_dump(), **found.as_json()}, indent=2) + "\n")
    return found


def write_result(path: Path, content: str) -> None:
    """A file of a study that is done; raises NotWritten, which names the folder."""
    with atomic_io.kept(path.parent, "give the same command again"):
        atomic_io.write_text(path, content)


def _test(folder: Path, run: Path) -> dict[str, float]:
    """The recommended network's test images, measured once: a study that has been finished keeps its answer."""
    summary = folder / "summary.json"
    if summary.exists():
        before = read_outside_json(summary)
        if not isinstance(before, dict) or not isinstance(measured := before.get("test"), dict):
            raise SqueezekitError(f"{summary}: damaged; delete it to have the test images measured again")
        if before.get("run") == str(run) and set(measured) == {"accuracy", "loss"}:
            return measured
    trained = Run(run)
    images, network = images_of(trained.config).test, trained.config.network
    if not len(images):
        return {}
    batches = Batches(images, batch_size=images_at_once(network.image_size), mean=network.mean, std=network.std)
    measured = measure(trained.network(), batches)
    return {"accuracy": measured.accuracy, "loss": measured.loss}


def csv_of(rows: list[Row], curves: list[str]) -> str:
    """One line for each point."""
    fields = list(dict.fromkeys(name for row in rows for name in row.fields))
    sizes = list(dict.fromkeys(name for row in rows for name in row.sizes))
    results = ["validation_loss", "loss_error", "validation_accuracy"]
    lines: list[list[Any]] = [["point", "state", *fields, *results, "curve", *sizes, "seconds", "reason"]]
    for row, curve in zip(rows, curves, strict=True):
        varied, needed = [row.fields.get(name) for name in fields], [row.sizes.get(name) for name in sizes]
        found = [row.loss, row.loss_error, row.accuracy]
        lines.append([row.point, row.state, *varied, *found, curve, *needed, row.seconds, row.reason])
    return csv_text(lines)
