"""Runs and files become folders of C, which answer nearly as the network did."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.data.sources import load_images
from squeezekit.export.c.export import export_c
from squeezekit.inference.evaluation import evaluate
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from tests.fixtures.exported import SANITIZERS, answers, built, reference

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@needs_gcc
@pytest.mark.slow
def test_a_run_becomes_a_folder_that_make_builds(tiny_run, tmp_path, capsys):
    out = tmp_path / "digits"
    assert main(["export", str(tiny_run.folder), "--format", "c", "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["validation"]["before"] == tiny_run.summary["validation"]["accuracy"]
    assert abs(said["validation"]["after"] - said["validation"]["before"]) <= 0.08
    assert said["activations"] == said["least_activations"] == said["variables"]
    subprocess.run(["make", "-C", str(out)], check=True, capture_output=True)
    source = load_images("digits", image_size=16, channels=1)
    picture = source.test.images[0]
    (tmp_path / "a.pgm").write_bytes(b"P5\n16 16\n255\n" + picture.tobytes())
    done = subprocess.run([out / "classify", tmp_path / "a.pgm"], capture_output=True, text=True, check=True)
    (expected,) = reference(integer_plan(load_model(tiny_run.folder)), picture[None])
    assert done.stdout == f"{source.test.classes[expected.argmax()]}\t{' '.join(map(str, expected))}\n"
    (tmp_path / "short.raw").write_bytes(b"x" * 400)
    (tmp_path / "wrong.pgm").write_bytes(b"P5\n8 8\n255\n" + bytes(64))
    for wrong, told in (
        ("short.raw", "no whole number"),
        ("wrong.pgm", "is not what the network takes: PGM (P5) of 16 x 16 pixels and 255 levels"),
        ("none.raw", "cannot be opened"),
    ):
        done = subprocess.run([out / "classify", tmp_path / wrong], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and told in done.stderr
    # What make has built is no reason not to write it again; a file of somebody's own is.
    assert main(["export", str(tiny_run.folder), "--format", "c", "-o", str(out), "--store-weights", "coded"]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"^activations and the weights of a part: 3,\d{3} bytes \(activations alone: .*, the least 1,160\)$", said, re.MULTILINE
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pgm", "digits", "short.raw", "wrong.pgm"]
    # Another network of the program, in the same folder.
    assert main(["export", str(tiny_run.folder), "--format", "c", "-o", str(out), "--name", "pets"]) == 2
    assert "of that name; name a new folder" in capsys.readouterr().err and (out / "classifier.c").exists()
    (out / "mine.c").write_text("int mine;")
    assert main(["export", str(tiny_run.folder), "--format", "c", "-o", str(out)]) == 2
    assert "other things than an export" in capsys.readouterr().err and (out / "mine.c").exists()


@pytest.mark.slow
def test_ram_for_feature_maps_is_limited(tiny_sqz, tmp_path, capsys):
    least = export_c(tiny_sqz, tmp_path / "least")
    assert least.activations <= min(least.activations_by_layer, least.activations_by_row)
    flags = ["export", str(tiny_sqz), "--format", "c", "-o", str(tmp_path / "fast"), "--json", "--max-ram"]
    first, second, *_ = least.lines()
    sizes = re.fullmatch(
        r"activations: ([\d,]+) bytes \(layer by layer [\d,]+, all row by row [\d,]+, the least ([\d,]+)\)", second
    )
    assert set(sizes.groups()) == {f"{least.variables:,}"} and f"{least.constants:,} bytes of constants" in first
    assert main([*flags, str(least.activations_by_layer)]) == 0
    assert json.loads(capsys.readouterr().out)["activations"] == least.activations_by_layer
    assert f"would take {least.activations_by_layer:,} bytes" in (tmp_path / "fast" / "README.md").read_text()
    assert main([*flags, "50"]) == 2
    assert f"need {least.activations:,} bytes" in capsys.readouterr().err


@needs_gcc
@pytest.mark.slow
def test_a_compressed_file_keeps_its_integers(tiny_sqz, tmp_path):
    made = export_c(tiny_sqz, tmp_path / "plain")
    coded = export_c(tiny_sqz, tmp_path / "coded", store_weights="coded", data="digits")
    assert made.validation == {} and abs(coded.validation["after"] - coded.validation["before"]) <= 0.08
    # But for the decoder's table.
    assert coded.constants - 2 * 2048 < made.constants
    model = load_model(tiny_sqz)
    source = load_images("digits", image_size=16, channels=1).test
    expected = reference(integer_plan(model), source.images)
    for out, flags in {"plain": ["-O2"], "coded": [*SANITIZERS, "-O1"]}.items():
        program = built(tmp_path / f"{out}-built", {p.name: p.read_text() for p in (tmp_path / out).iterdir()}, *flags)
        assert np.array_equal(answers(program, source.images)[1], expected)
    known = evaluate(tiny_sqz, "digits")
    assert (expected.argmax(1) == source.labels).mean() > known.accuracy - 0.08


def test_what_cannot_be_exported_says_why(tiny_run, tmp_path, capsys):
    with pytest.raises(SqueezekitError, match="--store-weights raw: is unknown; choose dense, sparse, coded"):
        export_c(tiny_run.folder, tmp_path / "x", store_weights="raw")
    for flags in (
        ["--format", "c", "--int8"],
        ["--format", "onnx", "--store-weights", "coded"],
        ["--format", "html", "--max-ram", "9k"],
    ):
        assert main(["export", str(tiny_run.folder), "-o", str(tmp_path / "x"), *flags]) == 2
        assert "leave it out" in capsys.readouterr().err
    for name in ("1st", "two words", "Pets", "x" * 40, "a\n", ""):
        with pytest.raises(SqueezekitError, match="is no beginning of functions"):
            export_c(tiny_run.folder, tmp_path / "x", name=name)
    for name in ("main", "classify", "sqz", "sqz_x", "stdint"):
        with pytest.raises(SqueezekitError, match=f"--name {name}: is taken; choose another one"):
            export_c(tiny_run.folder, tmp_path / "x", name=name)
    with pytest.raises(SqueezekitError, match="coded weights take the order of the least RAM; leave it out"):
        export_c(tiny_run.folder, tmp_path / "x", store_weights="coded", max_ram=9000)
    # Somebody's own program has files of these names.
    (tmp_path / "own").mkdir()
    for name in ("classifier.h", "classifier.c", "Makefile"):
        (tmp_path / "own" / name).write_text("/* weights made by squeezekit , edited by hand */")
    with pytest.raises(SqueezekitError, match="other things than an export"):
        export_c(tiny_run.folder, tmp_path / "own")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SqueezekitError, match="other things than an export"):
        export_c(tiny_run.folder, tmp_path / "file")
