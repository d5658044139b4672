"""A trial that cannot be, is too large, diverges or is hopeless."""

import pytest

from squeezekit.data.image_file import ReadingFailedError
from squeezekit.search import trial as module
from squeezekit.search.plan import SizeLimits, sizes_of
from squeezekit.search.study import Study
from squeezekit.search.trial import trained_here
from squeezekit.system.atomic_io import NotWritten
from squeezekit.system.folder_claim import InUse
from tests.fixtures.studies import SPACE, TRIAL, plan_of, space_in, store_in, worked


@pytest.mark.slow
def test_a_trial_that_diverges_or_cannot_be_is_a_row_with_its_reason(tmp_path):
    text = "[network]\npool_before = [[1, 2], [1, 5]]\n[recipe]\nlearning_rate = [0.01, 1e30]\n"
    good, diverged, impossible, _ = worked(tmp_path, text, sampler="grid", recipe="classic", fields={"depth": 4})
    assert good.state == "done"
    assert diverged.state == "failed" and "diverged" in diverged.reason
    assert impossible.state == "failed" and "from 1 to depth" in impossible.reason


@pytest.mark.slow
def test_limits_are_checked_before_a_trial_trains(tmp_path):
    plan = plan_of(space_in(tmp_path), sampler="grid")
    sizes = [sizes_of(plan.config(point)) for point in plan.space_of_trials().grid()]
    limit = (sizes[0]["bytes"] + sizes[2]["bytes"]) // 2
    rows = worked(tmp_path, SPACE, sampler="grid", limits=SizeLimits(bytes=limit))
    assert [row.state for row in rows[2:]] == ["too large"] * 2
    assert f"{sizes[2]['bytes']:,} bytes are more than the {limit:,} allowed" == rows[2].reason
    assert not (tmp_path / "0002").exists() and rows[0].state != "too large"


@pytest.mark.slow
def test_halving_stops_hopeless_trials(tmp_path):
    rows = worked(tmp_path, "[recipe]\nlearning_rate = [0.1, 1e-7, 1e-8]\n", sampler="grid", fields={"epochs": 6})
    assert [row.state for row in rows] == ["done", "stopped early", "stopped early"]
    assert "others were better after epoch" in rows[1].reason and len(rows[1].curve) < 6


def study_of_one_point(tmp_path):
    plan = plan_of(space_in(tmp_path, "[recipe]\nlearning_rate = [0.01]\n"), fields={**TRIAL, "epochs": 1}, sampler="grid")
    return Study(plan, store_in(tmp_path), "study")


@pytest.mark.slow
@pytest.mark.parametrize("problem", [NotWritten("cannot be written"), ReadingFailedError("a.png", "Input/output error")])
def test_a_failure_of_the_moment_is_not_the_fault_of_a_point(tmp_path, problem):
    study = study_of_one_point(tmp_path)

    def fails(*_arguments):
        raise problem

    with pytest.raises(type(problem)):
        study.work(tmp_path, trains=fails)
    study.work(tmp_path)
    assert [row.state for row in study.rows()] == ["done"]


@pytest.mark.slow
def test_a_run_that_another_worker_has_still_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.0)
    study, tries = study_of_one_point(tmp_path), []

    def twice(*arguments):
        tries.append(1)
        if len(tries) < 3:
            raise InUse("in use")
        return trained_here(*arguments)

    study.work(tmp_path, trains=twice)
    assert [row.state for row in study.rows()] == ["done"] and len(tries) == 3


def test_a_run_that_stays_anothers_is_looked_at_less_and_less_often_and_said_once(tmp_path, monkeypatch, capsys):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    objective = module.Objective(study_of_one_point(tmp_path).plan, tmp_path)
    for _ in range(9):
        objective._wait("0000: is in use")
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 120, 120]
    assert capsys.readouterr().err.count("in use") == 1
