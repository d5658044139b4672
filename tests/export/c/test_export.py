"""What leaves as C answers to the bit as the integer reference does, and nearly as the network did."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.compression.compress import compress
from squeezekit.data.sources import load_images
from squeezekit.export.c.export import export_c
from squeezekit.export.c.source import source_of
from squeezekit.inference.evaluation import evaluate
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.system import atomic_io
from tests.fixtures.exported import (
    NETWORKS,
    SANITIZERS,
    STRICT,
    answers,
    built,
    pictures_like,
    processor_has,
    reference,
    small,
)

# Flags of the compiler, and what Linux calls them of a processor: each has a way of its own in products.c.
INSTRUCTIONS = {
    "avx2": ["-mavx2"],
    "avx_vnni": ["-mavx2", "-mavxvnni"],
    "avx512_vnni": ["-mavx512f", "-mavx512vnni"],
}
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@needs_gcc
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_the_same_bits(name, tmp_path):
    model, plan = small(name)
    pixels = pictures_like(model.config, 12)
    expected = reference(plan, pixels)
    assert len(np.unique(expected, axis=0)) == len(pixels)
    for coded in (False, True):
        source = source_of(plan, model, coded=coded)
        labels, logits = answers(built(tmp_path / f"{coded}", source.files, *SANITIZERS), pixels)
        assert np.array_equal(logits, expected)
        assert labels == tuple(model.classes[i] for i in expected.argmax(1))
        assert source.memory.arena == source.memory.least_arena


@needs_gcc
@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_instructions_for_products_give_the_same_bits(kind, tmp_path):
    if not processor_has(kind):
        pytest.skip(f"this processor has no {kind}")
    for name in ("plain", "odd sides", "more than a block", "gated, with bypass", "grey"):
        model, plan = small(name)
        pixels = pictures_like(model.config, 12)
        source = source_of(plan, model, coded=name == "grey")
        program = built(tmp_path / name, source.files, *SANITIZERS, "-O3", *INSTRUCTIONS[kind])
        assert b"\0packed\0" in program.read_bytes()
        assert np.array_equal(answers(program, pixels)[1], reference(plan, pixels))


@needs_gcc
def test_a_thousand_test_images_give_the_same_bits(tiny_run, tmp_path):
    folder = os.environ.get("SQUEEZEKIT_CIFAR10")
    model = load_model(tiny_run.folder)
    plan = integer_plan(model)
    pixels = load_images(folder, image_size=32, channels=3).test.images[:1000] if folder else None
    if pixels is None:
        pixels = load_images("digits", image_size=32, channels=1).training.images[:1000]
    elif model.config.channels == 1:
        pixels = pixels.mean(3, keepdims=True).astype(np.uint8)
    program = built(tmp_path / "c", source_of(plan, model, coded=False).files, "-O2")
    assert np.array_equal(answers(program, np.ascontiguousarray(pixels))[1], reference(plan, np.ascontiguousarray(pixels)))


@needs_gcc
def test_a_run_becomes_a_folder_that_make_builds(tiny_run, tmp_path, capsys):
    out = tmp_path / "digits"
    assert main(["export", str(tiny_run.folder), "--format", "c", "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["validation"]["before"] == tiny_run.summary["validation"]["accuracy"]
    assert abs(said["validation"]["after"] - said["validation"]["before"]) <= 0.08
    assert said["activations"] == said["least_activations"] == said["variables"]
    subprocess.run(["make", "-C", str(out)], check=True, capture_output=True)
    source = load_images("digits", image_size=32, channels=1)
    picture = source.test.images[0]
    (tmp_path / "a.pgm").write_bytes(b"P5\n32 32\n255\n" + picture.tobytes())
    done = subprocess.run([out / "classify", tmp_path / "a.pgm"], capture_output=True, text=True, check=True)
    (expected,) = reference(integer_plan(load_model(tiny_run.folder)), picture[None])
    assert done.stdout == f"{source.test.classes[expected.argmax()]}\t{' '.join(map(str, expected))}\n"
    (tmp_path / "short.raw").write_bytes(b"x" * 1500)
    (tmp_path / "wrong.pgm").write_bytes(b"P5\n8 8\n255\n" + bytes(64))
    for wrong, told in (
        ("short.raw", "no whole number"),
        ("wrong.pgm", "not of the size"),
        ("none.raw", "cannot be opened"),
    ):
        done = subprocess.run([out / "classify", tmp_path / wrong], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and told in done.stderr
    # What make has built is no reason not to write it again; a file of somebody's own is.
    assert main(["export", str(tiny_run.folder), "--format", "c", "-o", str(out), "--store-weights", "coded"]) == 0
    assert "possible in this order of steps: the least" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pgm", "digits", "short.raw", "wrong.pgm"]
    (out / "mine.c").write_text("int mine;")
    assert main(["export", str(tiny_run.folder), "--format", "c", "-o", str(out)]) == 2
    assert "other things than an export" in capsys.readouterr().err and (out / "mine.c").exists()


@needs_gcc
def test_a_compressed_file_keeps_its_integers(tiny_run, tmp_path):
    compress(tiny_run.folder, tmp_path / "x.sqz", max_drop=100, epochs=1, minutes=0.01)
    made = export_c(tmp_path / "x.sqz", tmp_path / "plain")
    coded = export_c(tmp_path / "x.sqz", tmp_path / "coded", store_weights="coded", data="digits")
    assert made.validation == {} and abs(coded.validation["after"] - coded.validation["before"]) <= 0.08
    assert coded.constants < made.constants
    model = load_model(tmp_path / "x.sqz")
    source = load_images("digits", image_size=32, channels=1).test
    expected = reference(integer_plan(model), source.images)
    for out in ("plain", "coded"):
        program = built(tmp_path / f"{out}-built", {p.name: p.read_text() for p in (tmp_path / out).iterdir()}, "-O2")
        assert np.array_equal(answers(program, source.images)[1], expected)
    known = evaluate(tmp_path / "x.sqz", "digits")
    assert (expected.argmax(1) == source.labels).mean() > known.accuracy - 0.08


@needs_gcc
def test_the_library_needs_nothing(tmp_path):
    model, plan = small("plain")
    atomic_io.write_folder(tmp_path / "c", source_of(plan, model, coded=True).files)
    source = tmp_path / "c" / "classifier.c"
    flags = ["-ffreestanding", "-fstack-usage", "-Os", "-c", str(source), "-o", str(tmp_path / "classifier.o")]
    subprocess.run(["gcc", *STRICT, *flags], check=True)
    text = source.read_text()
    # Those of instruction sets are the compiler's own.
    included = {line.split()[1] for line in text.splitlines() if line.startswith("#include <")}
    assert included == {"<stddef.h>", "<stdint.h>", "<immintrin.h>", "<wasm_simd128.h>"}
    assert not {"malloc", "float", "double"} & set(text.replace("(", " ").replace("*", " ").split())
    undefined = subprocess.run(["nm", "-u", str(tmp_path / "classifier.o")], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in undefined.splitlines()} <= {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}
    # Every frame has a known size.
    frames = (tmp_path / "classifier.su").read_text().splitlines()
    assert sum(int(line.split("\t")[1]) for line in frames if "sqz" in line or "classif" in line or "convolve" in line) < 2500
    assert all(line.endswith("static") for line in frames)


def test_what_cannot_be_exported_says_why(tiny_run, tmp_path, capsys):
    with pytest.raises(SqueezekitError, match="--store-weights raw: is unknown; choose constants or coded"):
        export_c(tiny_run.folder, tmp_path / "x", store_weights="raw")
    for flags in (["--format", "c", "--int8"], ["--format", "onnx", "--store-weights", "coded"]):
        assert main(["export", str(tiny_run.folder), "-o", str(tmp_path / "x"), *flags]) == 2
        assert "leave it out" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    with pytest.raises(SqueezekitError, match="other things than an export"):
        export_c(tiny_run.folder, tmp_path / "file")


def test_names_of_classes_survive_the_compiler(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    model, plan = small("plain")
    names = ('a "quoted" \\ one', "??/ trigraph", "œuf", "1\n2", "%d", *map(str, range(5)))
    odd = Model("x", model.network, model.config, names, None, None, None)
    program = built(tmp_path / "c", source_of(plan, odd, coded=False).files, "-O0")
    text = tmp_path / "names.c"
    text.write_text(
        '#include "c/classifier.h"\n#include <stdio.h>\nint main(void) { for (int i = 0; i < 10; i++) '
        "{ fputs(classifier_names[i], stdout); putchar(0); } return 0; }"
    )
    subprocess.run(["gcc", str(text), str(tmp_path / "c" / "classifier.c"), "-o", str(program)], check=True)
    said = subprocess.run([str(program)], capture_output=True, check=True).stdout
    assert tuple(part.decode() for part in said.split(b"\0")[:-1]) == names
