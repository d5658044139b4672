"""A network in C answers to the bit as the integer reference does."""

import os
import shutil
import subprocess
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from squeezekit.data.sources import load_images
from squeezekit.export.c.source import source_of
from squeezekit.export.c.tables import StoreWeights
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import Model, load_model
from squeezekit.integer.memory import MemoryPlanner
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.exported import (
    EVERY_NETWORK,
    SANITIZERS,
    STRICT,
    answers,
    built,
    pictures_like,
    processor_has,
    reference,
    small,
    thinned,
)

# Flags of the compiler, and what Linux calls them of a processor: each has a way of its own in products.c.
INSTRUCTIONS = {
    "avx2": ["-mavx2"],
    "avx_vnni": ["-mavx2", "-mavxvnni"],
    "avx512_vnni": ["-mavx512f", "-mavx512vnni"],
}
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_every_network_gives_the_same_bits(name, tmp_path):
    model, plan = small(name)
    pixels = pictures_like(model.config, 6)
    expected = reference(plan, pixels)
    assert len(np.unique(expected, axis=0)) == len(pixels)
    for stored in get_args(StoreWeights):
        source = source_of(plan, model, store_weights=stored)
        labels, logits = answers(built(tmp_path / stored, source.files, *SANITIZERS), pixels)
        assert np.array_equal(logits, expected)
        assert labels == tuple(model.classes[i] for i in expected.argmax(1))
        assert source.memory.arena == source.memory.least_arena


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["all at once", "mirrored", "odd sides", "three wide pooling", "squeezed by strides", "inverted", "residual", "joined"],
)
def test_every_order_of_steps_gives_the_same_bits(name, tmp_path, monkeypatch):
    model, plan = small(name)
    pixels = pictures_like(model.config, 6)
    expected, planner = reference(plan, pixels), MemoryPlanner(plan)
    orders = {"by layer": planner.by_layer(), "by row": planner.by_row(), "cut": planner.cut_at([0, 3, 4, 6])}
    for number, (way, memory) in enumerate(orders.items()):
        monkeypatch.setattr(MemoryPlanner, "least", lambda _self, memory=memory: memory)
        source = source_of(plan, model, store_weights="dense")
        assert source.memory.arena == memory.arena.bytes and (".order = NULL" in source.files["classifier.c"]) == (number == 0)
        assert np.array_equal(answers(built(tmp_path / way, source.files, *SANITIZERS), pixels)[1], expected)


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("name", ["more than a block", "all at once", "odd sides", "squeezed by strides", "depthwise"])
def test_zeros_are_neither_stored_nor_multiplied(name, tmp_path):
    model, plan = small(name)
    for share in (0.3, 0.02):
        thin = thinned(plan, share)
        dense, sparse = (source_of(thin, model, store_weights=stored) for stored in ("dense", "sparse"))
        pixels = pictures_like(model.config, 6)
        program = built(tmp_path / str(share), sparse.files, *SANITIZERS)
        assert np.array_equal(answers(program, pixels)[1], reference(thin, pixels))
        assert sparse.macs < (share + 0.2) * dense.macs and sparse.memory.constants < dense.memory.constants
    # Where no weight is zero, runs would take more bytes.
    assert source_of(plan, model, store_weights="sparse").macs <= plan.macs


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("name", ["more than a block", "all at once", "squeezed by strides"])
def test_weights_are_decoded_a_part_at_a_time_where_that_takes_less_ram(name, tmp_path):
    model, plan = small(name)
    source = source_of(plan, model, store_weights="coded")
    memory, text = source.memory, source.files["classifier.c"]
    assert memory.decoded.in_parts == memory.variables < memory.decoded.at_start
    assert "int8_t weights[" not in text and ".decode = decode" in text
    assert f"RAM: {memory.variables:,} bytes" in source.files["classifier.h"].replace("\n * ", " ")
    pixels = pictures_like(model.config, 6)
    program = built(tmp_path / "c", source.files, *SANITIZERS)
    # Every picture decodes anew, over what the one before has left.
    assert np.array_equal(answers(program, pixels)[1], reference(plan, pixels))


@needs_gcc
@pytest.mark.slow
def test_weights_are_decoded_at_the_start_where_that_takes_less_ram():
    model, plan = small("grey")
    source = source_of(plan, model, store_weights="coded")
    assert source.memory.decoded.at_start == source.memory.variables < source.memory.decoded.in_parts
    assert "int8_t weights[" in source.files["classifier.c"] and ".decode = NULL" in source.files["classifier.c"]


def test_weights_that_are_decoded_take_the_order_of_the_least_ram():
    model, plan = small("grey")
    with pytest.raises(SqueezekitError, match="--max-ram 64000: coded weights take the order of the least RAM; leave it out"):
        source_of(plan, model, store_weights="coded", max_ram=64_000)


@needs_gcc
@pytest.mark.slow
def test_two_networks_fit_into_a_program(tmp_path):
    """Each with the names that it was given; names of classes stay."""
    program, main_file, expected = tmp_path / "both", tmp_path / "main.c", []
    sources, calls = [main_file], ""
    for name, network, stored in (("pets", "odd sides", "coded"), ("digits_2", "grey", "sparse")):
        model, plan = small(network)
        model = replace(model, classes=("classifier_run", *model.classes[1:]))
        atomic_io.write_folder(tmp_path / name, source_of(plan, model, store_weights=stored, name=name).files)
        found = {path.name for path in (tmp_path / name).iterdir()}
        assert found == {"Makefile", "README.md", "main.c", f"{name}.c", f"{name}.h"}
        picture = pictures_like(model.config, 2)[1:]
        expected.append(["classifier_run", *map(str, reference(plan, picture)[0])])
        sources.append(tmp_path / name / f"{name}.c")
        numbers = ",".join(map(str, picture.ravel()))
        calls += f"""{{ static const uint8_t picture[{name.upper()}_PICTURE_BYTES] = {{{numbers}}};
            int32_t logits[{name.upper()}_CLASSES];
            {name}_start();
            {name}_run(picture, logits);
            printf("%s", {name}_names[0]);
            for (int k = 0; k < {name.upper()}_CLASSES; k++) printf(" %ld", (long)logits[k]);
            putchar(10); }}"""
    headers = '#include "pets/pets.h"\n#include "digits_2/digits_2.h"\n#include <stdio.h>\n'
    main_file.write_text(headers + f"int main(void) {{ {calls} return 0; }}\n")
    subprocess.run(["gcc", *STRICT, *SANITIZERS, *sources, "-o", program], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert [line.split() for line in said.splitlines()] == expected
    # Its own program is built by its own Makefile.
    subprocess.run(["make", "-s", "-C", tmp_path / "pets", "CFLAGS=-O0"], check=True)
    assert (tmp_path / "pets" / "classify").is_file()


@needs_gcc
@pytest.mark.slow
def test_it_is_not_compiled_as_cpp(tmp_path):
    model, plan = small("grey")
    atomic_io.write_folder(tmp_path / "c", source_of(plan, model, store_weights="dense").files)
    done = subprocess.run(
        ["gcc", "-x", "c++", "-fsyntax-only", tmp_path / "c" / "classifier.c"], capture_output=True, text=True, check=False
    )
    assert done.returncode and "this is C99: compile it as C" in done.stderr


@needs_gcc
@pytest.mark.slow
def test_the_variables_are_as_many_as_the_export_says(tmp_path):
    for name in ("all at once", "grey"):
        model, plan = small(name)
        source = source_of(plan, model, store_weights="coded")
        atomic_io.write_folder(tmp_path / name, source.files)
        made = tmp_path / f"{name}.o"
        subprocess.run(["gcc", *STRICT, "-c", str(tmp_path / name / "classifier.c"), "-o", str(made)], check=True)
        listed = subprocess.run(["size", "-A", str(made)], capture_output=True, text=True, check=True).stdout
        variables = sum(int(line.split()[1]) for line in listed.splitlines() if line.startswith((".bss", ".data ")))
        # Pointers of the decoder are wider here.
        assert 0 <= variables - source.memory.variables < 64


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_instructions_for_products_give_the_same_bits(kind, tmp_path):
    if not processor_has(kind):
        pytest.skip(f"this processor has no {kind}")
    # The last of these takes a compiler that optimizes two seconds.
    for name, optimized in (
        ("odd sides", "-O0"),
        ("more than a block", "-O0"),
        ("grey", "-O0"),
        ("depthwise", "-O0"),
        ("all at once", "-O3"),
    ):
        model, plan = small(name)
        pixels = pictures_like(model.config, 6)
        source = source_of(plan, model, store_weights="coded" if name in ("grey", "odd sides") else "dense")
        program = built(tmp_path / name, source.files, *SANITIZERS, optimized, *INSTRUCTIONS[kind])
        assert b"\0packed\0" in program.read_bytes()
        assert np.array_equal(answers(program, pixels)[1], reference(plan, pixels))


@needs_gcc
@pytest.mark.slow
def test_a_thousand_pictures_give_the_same_bits(tiny_run, request, tmp_path):
    model = load_model(tiny_run.folder)
    plan = integer_plan(model)
    if os.environ.get("SQUEEZEKIT_CIFAR10"):
        images = load_images(request.getfixturevalue("photographs"), image_size=16, channels=1).test
    else:
        images = load_images("digits", image_size=16).training
    pixels = np.array(images.images[:1000])
    program = built(tmp_path / "c", source_of(plan, model, store_weights="dense").files, "-O2")
    assert len(pixels) == 1000 and np.array_equal(answers(program, pixels)[1], reference(plan, pixels))


@needs_gcc
def test_the_library_needs_nothing(tmp_path):
    model, plan = small("plain")
    atomic_io.write_folder(tmp_path / "c", source_of(plan, model, store_weights="coded").files)
    source = tmp_path / "c" / "classifier.c"
    flags = ["-ffreestanding", "-fstack-usage", "-Os", "-c", str(source), "-o", str(tmp_path / "classifier.o")]
    subprocess.run(["gcc", *STRICT, *flags], check=True)
    text = source.read_text()
    # Those of instruction sets are the compiler's own.
    included = {line.split()[1] for line in text.splitlines() if line.startswith("#include <")}
    assert included == {
        "<stddef.h>",
        "<stdint.h>",
        *(f"<{name}.h>" for name in ("immintrin", "wasm_simd128", "arm_neon", "arm_mve", "riscv_vector")),
    }
    assert not {"malloc", "float", "double"} & set(text.replace("(", " ").replace("*", " ").split())
    undefined = subprocess.run(["nm", "-u", str(tmp_path / "classifier.o")], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in undefined.splitlines()} <= {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}
    # Every frame has a known size.
    frames = (tmp_path / "classifier.su").read_text().splitlines()
    assert sum(int(line.split("\t")[1]) for line in frames if "sqz" in line or "classif" in line or "convolve" in line) < 2500
    assert all(line.endswith("static") for line in frames)


def test_names_of_classes_survive_the_compiler(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    model, plan = small("plain")
    names = ('a "quoted" \\ one', "??/ trigraph", "œuf", "1\n2", "%d", *map(str, range(5)))
    odd = Model("x", model.network, model.config, names, None, None, None)
    program = built(tmp_path / "c", source_of(plan, odd, store_weights="dense").files, "-O0")
    text = tmp_path / "names.c"
    text.write_text(
        '#include "c/classifier.h"\n#include <stdio.h>\nint main(void) { for (int i = 0; i < 10; i++) '
        "{ fputs(classifier_names[i], stdout); putchar(0); } return 0; }"
    )
    subprocess.run(["gcc", str(text), str(tmp_path / "c" / "classifier.c"), "-o", str(program)], check=True)
    said = subprocess.run([str(program)], capture_output=True, check=True).stdout
    assert tuple(part.decode() for part in said.split(b"\0")[:-1]) == names


def header(magic=b"P5", side=b"32", most=b"255\n"):
    return magic + b"\n" + side + b" " + side + b"\n" + most


@needs_gcc
@pytest.mark.slow
def test_headers_of_pictures_as_other_programs_write_them(tmp_path):
    model, plan = small("grey")
    names = ("\x1b[31mred\n", "\u009bwide", "plain \u00e9", *model.classes[3:])
    program = built(tmp_path / "c", source_of(plan, replace(model, classes=names), store_weights="dense").files, *SANITIZERS)
    pixels = pictures_like(model.config, 12)
    expected = [int(logits.argmax()) for logits in reference(plan, pixels)]
    said = [{0: "\\x1b[31mred\\x0a", 1: "\\x9bwide"}.get(label, names[label]) for label in expected]

    def run(name, content):
        (tmp_path / name).write_bytes(content)
        done = subprocess.run([program, tmp_path / name], capture_output=True, check=False)
        return done.returncode, [line.split("\t")[0] for line in done.stdout.decode().splitlines()], done.stderr.decode()

    body = pixels[2].tobytes()
    fitting = {
        "plain.pgm": header(),
        "comments.pgm": b"P5\n# made by GIMP 255 8 8\n32 # wide\n# high\n32\n#\n255\n",
        "at once.pgm": b"P5#a comment\r32\t32 #another\n#and another\n255 ",
        "UPPER.PGM": header(),
        "zeros.pnm": b"P5 0032 00000000000000000032 255\r",
        "comments at numbers.pgm": b"P5\n32#wide\n32# high\n255# levels\n",
    }
    for name, start in fitting.items():
        assert run(name, start + body) == (0, [said[2]], ""), name
    assert run("all.pgm", b"".join(header() + picture.tobytes() for picture in pixels)) == (0, said, "")
    assert run("all.raw", pixels.tobytes()) == (0, said, "")
    wrong = {
        "colour.pgm": header(b"P6"),
        "ascii.pgm": header(b"P2"),
        "16 bits.pgm": header(most=b"65535\n"),
        "small.pgm": header(side=b"8"),
        "overflow.pgm": b"P5 4294967328 32 255\n",
        "longer overflow.pgm": b"P5 " + b"9" * 1000 + b" 32 255\n",
        "negative.pgm": b"P5 -32 32 255\n",
        "no white space.pgm": b"P5 32 32 255",
        "endless comment.pgm": b"P5 32 32 #255\n",
        "P5.pgm": b"P5",
        "glued.pgm": b"P532 32 255\n",
    }
    for name, start in wrong.items():
        code, lines, error = run(name, start if name == "P5.pgm" else start + bytes(1024))
        assert (code, lines) == (1, []) and error.count("\n") == 1 and "is not what the network takes" in error, name
    # Nothing is answered before a file that is none shows it at its end.
    for name, content in {"none.raw": b"", "short.raw": body[:-1], "photo.jpg": 3 * body + b"x"}.items():
        code, lines, error = run(name, content)
        assert (code, lines) == (1, []) and "no whole number of pictures" in error, name
    for name, content, told in (("short.pgm", header() + body[:-1], "is cut short"), ("none.pgm", b"", "is empty")):
        code, lines, error = run(name, content)
        assert (code, lines) == (1, []) and told in error, name
    read = subprocess.run([program, "/dev/stdin"], input=2 * body, capture_output=True, check=True)
    assert len(read.stdout.splitlines()) == 2
    # The first picture is one; what follows it is none, and is not taken for one.
    code, lines, error = run("more.pgm", header() + body + b"x" * 1024)
    assert (code, lines) == (1, [said[2]]) and "is not what the network takes" in error
    assert subprocess.run([program, tmp_path], capture_output=True, check=False).returncode == 1
