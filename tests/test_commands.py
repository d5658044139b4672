"""The commands as scripts use them."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from squeezekit.cli import COMMANDS, main
from squeezekit.compression import rate_distortion_method
from squeezekit.data.sources import load_images
from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table
from tests.fixtures.tiny import TINY, flags


def run_json(capsys, *arguments):
    code = main([*arguments, "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# Runs each command in a child of a process that has imported other packages, which takes seconds, and nothing of ours.
EACH_IN_A_FRESH_PROCESS = """
import importlib, json, os, sys
for package in (
    "torch.fx.passes.shape_prop", "torch.utils.tensorboard", "torch.fx.experimental.symbolic_shapes", "sklearn.datasets",
    "matplotlib.pyplot", "pydantic", "rich.live", "rich.progress", "rich.table", "safetensors.torch", "scipy.stats", "PIL.Image",
):
    importlib.import_module(package)
codes = []
for command in map(json.loads, sys.argv[1:]):
    if not (child := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        from squeezekit.cli import main
        code = main(command)
        sys.stderr.flush()
        # Taking down all that was imported takes as long as importing it.
        os._exit(code)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""


@pytest.mark.slow
def test_each_command_imports_what_it_needs(tiny_run, tiny_sqz, tmp_path):
    Image.new("L", (32, 32)).save(tmp_path / "picture.png")
    run, file, out = str(tiny_run.folder), str(tiny_sqz), str(tmp_path / "out")
    commands = [
        ["train", "--data", "digits", "--epochs=1", "-o", f"{out}/run", *flags(TINY)],
        ["models"],
        ["evaluate", run],
        ["predict", file, str(tmp_path / "picture.png")],
        ["compress", run, "--minutes=0", "--max-bytes=20000", "-o", f"{out}/file.sqz"],
        ["inspect", file],
        ["export", file, "--format=html", "-o", f"{out}/page.html"],
        ["export", run, "--format=c", "-o", f"{out}/c"],
        # What is wrong is told as always.
        ["evaluate", "nowhere"],
    ]
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", EACH_IN_A_FRESH_PROCESS, *map(json.dumps, commands)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0] * 8 + [2], done.stderr


def test_it_is_a_program():
    for start in ([sys.executable, "-m", "squeezekit"], [Path(sys.executable).parent / "squeezekit"]):
        done = subprocess.run([*start, "trian"], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "did you mean train?" in done.stderr


@pytest.mark.slow
def test_train_evaluate_predict(tmp_path, capsys):
    out = tmp_path / "run"
    code, (trained,) = run_json(capsys, "train", "--data", "digits", "--out", str(out), "--epochs", "2", *flags(TINY))
    assert code == 0
    assert trained["epochs"] == 2
    assert (out / "curves.png").stat().st_size > 1000
    code, (evaluated,) = run_json(capsys, "evaluate", str(out))
    assert evaluated["accuracy"] == pytest.approx(trained["test"]["accuracy"])
    assert set(evaluated["per_class"]["3"]) == {"precision", "recall", "f1", "images"}
    assert not (out / "confusion.png").exists()
    assert main(["evaluate", str(out), "--pictures", str(tmp_path / "pictures")]) == 0
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"confusion.png", "mistakes.png"}
    capsys.readouterr()
    digit = load_images("digits").test.images[0, :, :, 0]
    Image.fromarray(digit).save(tmp_path / "digit.png")
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    code = main(["predict", str(out), str(tmp_path / "broken.png"), str(tmp_path / "digit.png"), "--top", "3", "--json"])
    printed = capsys.readouterr()
    assert code == 1
    assert "broken.png" in printed.err
    (row,) = [json.loads(line) for line in printed.out.splitlines()]
    assert set(row) == {"path", "label", "probability", "unsure", "known", "top"}
    assert len(row["top"]) == 3
    assert row["label"] == row["top"][0]["label"]


@pytest.mark.slow
def test_compress_and_inspect(tiny_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rate_distortion_method, "MAX_PTQ_CANDIDATES", 4)
    file = tmp_path / "digits.sqz"
    code, (result,) = run_json(capsys, "compress", str(tiny_run.folder), "-o", str(file), "--max-drop", "10", "--epochs", "1")
    assert code == 0
    assert result["met_target"]
    assert result["bytes"] == file.stat().st_size
    assert {"bytes", "ratio", "validation", "stages", "candidates"} <= set(result)
    assert result["validation"]["after"] > result["validation"]["before"] - 0.1 - 1e-9
    code, (found,) = run_json(capsys, "inspect", str(file))
    assert code == 0
    assert found["self_check"] is True
    assert found["stages"] == result["stages"]
    assert sum(tensor["bytes"] for tensor in found["tensors"]) < found["sections"]["Wght"] < found["bytes"]
    assert main(["inspect", str(file)]) == 0
    assert "self-check passed" in capsys.readouterr().out
    code, (evaluated,) = run_json(capsys, "evaluate", str(file), "--data", "digits")
    assert evaluated["accuracy"] == result["test"]["after"]
    assert [path.name for path in tmp_path.iterdir()] == ["digits.sqz"]
    code, (described,) = run_json(capsys, "describe", str(file))
    assert described["parameters"] > 1000


@pytest.mark.slow
def test_a_target_that_cannot_be_met(tiny_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rate_distortion_method, "MAX_PTQ_CANDIDATES", 2)
    file = tmp_path / "digits.sqz"
    arguments = ["compress", str(tiny_run.folder), "-o", str(file), "--max-bytes", "900", "--max-drop", "0"]
    assert main([*arguments, "--minutes", "0"]) == 1
    assert "target missed" in capsys.readouterr().err
    assert file.exists()


@pytest.mark.slow
def test_accuracy_that_a_small_file_costs_is_said(tiny_run, tmp_path, capsys):
    for most, costs in (("2200", True), ("9000", False)):
        out = str(tmp_path / f"{most}.sqz")
        assert main(["compress", str(tiny_run.folder), "-o", out, "--minutes", "0", "--max-bytes", most]) == 0
        told = re.search(
            r"^([\d.]+) points of validation accuracy are lost: allow more --max-bytes", capsys.readouterr().err, re.MULTILINE
        )
        assert bool(told) == costs and (not told or float(told[1]) > 2)
    # Nobody has asked for bytes.
    out = str(tmp_path / "rounded.sqz")
    assert main(["compress", str(tiny_run.folder), "-o", out, "--epochs", "1", "--rate-weight", "0.1"]) == 0
    assert "are lost" not in capsys.readouterr().err


@pytest.mark.slow
def test_describe(capsys):
    code, (table,) = run_json(capsys, "describe", "squeezenet1_0", "--compare", "alexnet")
    assert code == 0
    assert table["parameters"] == 1_248_424
    assert round(table["ratio"], 1) == 48.8
    code, (wider,) = run_json(capsys, "describe", "squeezenet-late", "--squeeze-ratio", "0.25", "--classes", "20")
    assert (
        wider["parameters"] == layer_table(network_config("squeezenet-late", squeeze_ratio=0.25, classes=20)).parameters > 729_034
    )
    main(["describe", "squeezenet-cifar", "--csv"])
    assert capsys.readouterr().out.splitlines()[1] == 'features.0,Conv2d,32×32×3,32×32×96,2688,2654208,98304,"3×3, stride 1"'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], "nowhere"),
        (["train"], "--data"),
        (["evaluate", "nowhere"], "does not exist"),
        (["inspect", "nowhere.sqz"], "does not exist"),
        (["compress", "nowhere", "-o", "x.sqz"], "not a run folder"),
        (["compress", "digits-nano", "-o", "x.sqz"], "is compressed already, or no run; give the folder"),
        (["inspect", "."], "write its .sqz file with squeezekit compress"),
        (["describe", "digits-nano", "--depth", "3"], "leave out --depth"),
        (["predict", "nowhere", "x.png"], "does not exist"),
        (["describe", "vgg"], "choose one of"),
        (["train", "--data", "digits", "--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_wrong_input_is_one_sentence_and_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_predict_goes_on_after_an_empty_folder(tiny_run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    Image.new("L", (32, 32)).save(tmp_path / "ok.png")
    assert main(["predict", str(tiny_run.folder), str(tmp_path / "empty"), str(tmp_path / "ok.png")]) == 1
    printed = capsys.readouterr()
    assert "holds no pictures" in printed.err
    assert "ok.png: " in printed.out


def test_a_report_for_scripts(tiny_run, tmp_path, capsys):
    code, (written,) = run_json(capsys, "report", str(tiny_run.folder), "-o", str(tmp_path / "report.html"))
    assert code == 0
    assert written["bytes"] == Path(written["file"]).stat().st_size > 1000


@pytest.mark.parametrize("arguments", [["trian"], ["train", "--lim", "3"], ["train", "--epochs", "many"], ["predict"]])
def test_wrong_usage_is_one_sentence_and_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert "--help" in error


def test_a_place_that_cannot_be_written_is_one_sentence(tiny_run, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["evaluate", str(tiny_run.folder), "--pictures", str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_a_disk_that_is_full_is_said_with_the_file_that_was_asked_for(monkeypatch, capsys):
    def fails(**_):
        # What writing to an open file raises.
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("squeezekit.cli.export.run", fails)
    assert main(["export", "digits-nano", "--format", "html", "-o", "/out/page.html"]) == 1
    assert capsys.readouterr().err.startswith("squeezekit: /out/page.html: No space left on device; ")


def test_a_message_has_the_name_of_the_file_not_of_what_was_written_aside(monkeypatch, capsys):
    def fails(**_):
        raise OSError(28, "No space left on device", "/out/.page.html.4711.partial")

    monkeypatch.setattr("squeezekit.cli.models.run", fails)
    assert main(["models"]) == 1
    assert "squeezekit: /out/page.html: No space left on device" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["--help"], ["inspect", "digits-nano"]])
def test_output_that_cannot_be_written_is_one_sentence(arguments, monkeypatch, capsys):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("squeezekit: No space left") and len(said.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_no_traceback_at_the_end():
    command, environment = [sys.executable, "-m", "squeezekit", "models"], {**os.environ, "PYTHONUNBUFFERED": ""}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 1 and done.stderr.startswith("squeezekit: No space left") and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_every_command_shows_itself_on_a_terminal_that_is_not_utf8(encoding, monkeypatch):
    written = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding=encoding))
    for name in COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help-all"])
    for arguments in (["describe", "nano"], ["inspect", "digits-nano"], ["models", "--json"]):
        assert main(arguments) == 0
    said = written.getvalue()
    assert b"--rate-weight \\u03bb" in said and json.loads(said.splitlines()[-1])


def test_class_names_are_shown_as_they_are(tmp_path, capsys):
    import numpy as np

    for label, name in enumerate(("[cat]", "$x_$")):
        (tmp_path / "all" / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.random.default_rng(100 * label + number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "all" / name / f"{number}.png")
    assert main(["train", "--data", str(tmp_path / "all"), "--out", str(tmp_path / "run"), "--epochs", "1", *flags(TINY)]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "[cat]" in capsys.readouterr().out
