"""A whole search: every point once, one network recommended, the same answer when it is asked again."""

import json
import subprocess
import sys

import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.search.search import search
from squeezekit.training.run_folder import Run
from tests.fixtures.studies import SIZES, TRIAL, plan_of, space_in
from tests.fixtures.tiny import flags


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
