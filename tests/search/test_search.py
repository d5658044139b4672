"""A whole search: every point once, one network recommended, the same answer when it is asked again."""

import importlib
import json
import subprocess
import sys

import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.search.crossval import cross_validate
from squeezekit.search.search import search, study_folder
from squeezekit.system.folder_claim import InUse
from squeezekit.training.run_folder import Run
from tests.fixtures.studies import SIZES, TRIAL, plan_of, space_in
from tests.fixtures.tiny import flags

module = importlib.import_module("squeezekit.search.search")


@pytest.mark.slow
def test_two_jobs_finish_a_grid_and_recommend_a_network(tmp_path, capsys):
    space, out = space_in(tmp_path), tmp_path / "study"
    arguments = ["search", "--data=digits", f"--space={space}", "--sampler=grid", "--pruner=none", f"--out={out}", *flags(TRIAL)]
    arguments += ["--jobs=2", "--json"]
    done = subprocess.run([sys.executable, "-m", "squeezekit", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["state"] for row in found["rows"]] == ["done"] * 4
    assert [row["fields"] for row in found["rows"]] == plan_of(space, fields={}).space_of_trials().grid()
    assert done.stderr.count(": done, loss") == 4 and "epoch 1/2" not in done.stderr
    best = found["rows"][found["recommended"]]
    assert best["loss"] <= min(row["loss"] + row["loss_error"] for row in found["rows"])
    assert best["loss"] == Run(out / f"{best['point']:04d}").summary["validation"]["loss"]
    assert len(best["curve"]) == 2 and min(best["curve"]) == pytest.approx(best["loss"], abs=0.05)
    assert "test" not in Run(out / f"{best['point']:04d}").summary
    assert 0 <= found["test"]["accuracy"] <= 1
    assert set(found["curves"]) <= {"slow", "stable", "oscillating", "not learning"}
    table = (out / "trials.csv").read_text().splitlines()
    assert len(table) == 5 and table[0].startswith("point,state,squeeze_ratio,learning_rate,validation_loss")
    # The same command again: nothing is trained, and the answer is the same.
    assert main(arguments) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rows"] == found["rows"] and again["test"] == found["test"]


def test_a_study_that_another_command_works_on_is_left_alone(tmp_path, monkeypatch):
    def second(*_arguments, **_options):
        for work in (lambda: search("digits", tmp_path / "study"), lambda: cross_validate("digits", tmp_path / "study")):
            with pytest.raises(InUse, match="study: is in use by process"):
                work()
        # Machines that share a store may share the folder.
        with study_folder(tmp_path / "study", "digits", None, "postgresql://h/x"):
            raise SqueezekitError("no plan")

    monkeypatch.setattr("squeezekit.search.search.planned", second)
    with pytest.raises(SqueezekitError, match="no plan"):
        search("digits", tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_study_among_the_pictures_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(SqueezekitError, match="would lie among the pictures"):
        search(tmp_path / "photos", tmp_path / "photos" / "study")
    (tmp_path / "x.toml").write_text(f'[run]\ndata = "{tmp_path / "photos"}"\n')
    with pytest.raises(SqueezekitError, match="would lie among the pictures"):
        cross_validate(None, tmp_path / "photos" / "study", config=tmp_path / "x.toml")


@pytest.mark.parametrize("text", ["[]", "{", '{"run": 5}', "[" * 100_000])
def test_a_damaged_result_is_named(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(SqueezekitError, match=r"summary\.json: "):
        module._test(tmp_path, tmp_path / "0000")


def test_a_folder_that_is_a_run_is_left_alone(tiny_run, tmp_path):
    with pytest.raises(SqueezekitError, match="is a run; choose another --out"):
        search("digits", tiny_run.folder, space=space_in(tmp_path), **SIZES)


def test_what_varies_in_the_images_or_twice_is_refused(tmp_path):
    space = space_in(tmp_path)
    (tmp_path / "channels.toml").write_text("[network]\nchannels = [1, 3]\n")
    for path, fields, said in ((tmp_path / "channels.toml", {}, "that of the images"), (space, {"squeeze_ratio": 0.5}, "varies")):
        with pytest.raises(SqueezekitError, match=said):
            plan_of(str(path), fields=fields)
    with pytest.raises(SqueezekitError, match="greater than or equal to 0"):
        search("digits", tmp_path / "study", space=space, limits={"bytes": -1})
    with pytest.raises(SqueezekitError, match="device"):
        search("digits", tmp_path / "study", space=space, device="tpu")
