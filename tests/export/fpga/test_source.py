"""Circuits answer with the bits of the integer reference, at the pace that is planned."""

import os
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from squeezekit.data.sources import load_images
from squeezekit.export.fpga.planner import TARGETS
from squeezekit.inference.int8_model import integer_plan
from squeezekit.inference.model import load_model
from squeezekit.pretrained.files import pretrained_names
from tests.fixtures.circuits import fire_plan, needs_icarus, needs_verilator, simulated, written
from tests.fixtures.exported import pictures_like, reference, small


@pytest.fixture
def seen_by(request):
    """Test pictures of what a pretrained network knows: handwritten digits, or CIFAR-10 where it is at hand, else drawn ones."""

    def pictures(model, count):
        if model.config.channels == 1:
            data = "digits"
        elif os.environ.get("SQUEEZEKIT_CIFAR10"):
            data = request.getfixturevalue("photographs")
        else:
            return pictures_like(model.config, count)
        found = load_images(data, image_size=model.config.image_size, channels=model.config.channels).test.images
        # They may lie in order of their classes.
        return np.array(found[:: len(found) // count][:count])

    return pictures


@needs_icarus
@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{"brighter": 200}, {"below": 30}, {"bypass": "complex", "pool_size": 3, "stem_stride": 2, "image_size": 19}],
    ids=str,
)
def test_a_fire_network_gives_the_bits_of_the_reference(fields, tmp_path):
    model, plan = fire_plan(**fields)
    written(tmp_path / "fire", plan, parallel=30)
    pictures = pictures_like(model.config, 4, seed=2)[1:]
    steady, stalled = (simulated(tmp_path / "fire", pictures, "sim-icarus", stall=stall) for stall in (0, 120))
    expected = reference(plan, pictures)
    assert len(np.unique(expected)) > len(expected)
    assert np.array_equal(steady.logits, expected) and np.array_equal(stalled.logits, expected)
    assert stalled.answered[-1] > steady.answered[-1]


@needs_icarus
@pytest.mark.slow
def test_products_in_logic_and_in_dsps_are_the_same(tmp_path):
    model, plan = fire_plan()
    pictures = pictures_like(model.config, 4, seed=2)[2:]
    found = written(tmp_path / "logic", plan, parallel=20, target=replace(TARGETS["ecp5-25k"], dsps=4, luts=0))
    # The stem's rescaling takes two.
    assert found.dsps == 4 and len(found.rescaled_by_dsps) == 3 and not found.added_by_dsps
    assert found.multipliers_in_logic == found.multipliers > 0
    assert np.array_equal(simulated(tmp_path / "logic", pictures, "sim-icarus").logits, reference(plan, pictures))


@needs_icarus
@pytest.mark.slow
@pytest.mark.parametrize(
    "file, old, new, below",
    [
        ("rescale.v", " + low + HALF", " + low", 0),
        ("add.v", "255 ? 8'd255", "255 ? 8'd254", 0),
        ("add.v", "raised - BELOW : 33'd0", "raised - BELOW : 33'd1", 200),
    ],
    ids=["rounding", "largest byte", "smallest byte"],
)
def test_a_wrong_circuit_is_noticed(file, old, new, below, tmp_path):
    model, plan = fire_plan(brighter=200, below=below)
    written(tmp_path / "wrong", plan, parallel=20, changed={file: (old, new)})
    pictures = pictures_like(model.config, 4, seed=2)[2:]
    assert not np.array_equal(simulated(tmp_path / "wrong", pictures, "sim-icarus").logits, reference(plan, pictures))


@needs_icarus
@pytest.mark.slow
def test_a_reset_in_the_middle_of_a_picture_begins_anew(tmp_path):
    model, plan = fire_plan()
    found = written(tmp_path / "fire", plan, parallel=20)
    pictures = pictures_like(model.config, 4, seed=2)[1:]
    done = simulated(tmp_path / "fire", pictures, "sim-icarus", stall=40, again=found.latency + found.cycles // 2)
    before, after = done.said.split("again\n")
    assert before.count(" @ ") in (1, 2) and after.count(" @ ") == len(pictures)
    assert np.array_equal(done.logits[-len(pictures) :], reference(plan, pictures))


@needs_icarus
@pytest.mark.slow
def test_pictures_that_are_none_are_named_and_end_the_simulation(tmp_path):
    model, plan = fire_plan()
    written(tmp_path / "fire", plan, parallel=20)
    simulated(tmp_path / "fire", pictures_like(model.config, 1), "sim-icarus")
    simulation = ["vvp", "-n", "build/simulation.vvp", "+pictures=other.hex"]
    size = model.config.image_size**2 * 3
    for text, said in (
        (None, "other.hex cannot be opened: write the bytes"),
        ("", f"other.hex holds 0 bytes: give pictures of {size} bytes each"),
        ("0a " * (size + 1), f"holds {size + 1} bytes: give pictures of {size} bytes each"),
        ("0a 1ff", "other.hex, byte 2: '1ff' is not two hexadecimal digits"),
        ("0A xx", "other.hex, byte 2: 'xx' is not two hexadecimal digits"),
        ("0a" * size, "is not two hexadecimal digits"),
    ):
        if text is not None:
            (tmp_path / "fire" / "other.hex").write_text(text)
        done = subprocess.run(simulation, cwd=tmp_path / "fire", capture_output=True, text=True, check=False)
        assert done.returncode != 0 and said in done.stdout and " @ " not in done.stdout
    (tmp_path / "build").symlink_to(tmp_path / "fire" / "build")
    done = subprocess.run(simulation, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "no weights_0.hex here: run it in the folder that holds the circuit" in done.stdout
    table = tmp_path / "fire" / "table_2.hex"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    done = subprocess.run(simulation, cwd=tmp_path / "fire", capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "table_2.hex has" in done.stdout and " @ " not in done.stdout
    table.write_text("zz\n" * (len(table.read_text().splitlines()) + 1))
    done = subprocess.run(simulation[:-1], cwd=tmp_path / "fire", capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "a logit that is no number" in done.stdout and " @ " not in done.stdout
    done = subprocess.run([*simulation, "+stall=-1"], cwd=tmp_path / "fire", capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "+stall=-1: give 0 to 255" in done.stdout


@needs_icarus
@pytest.mark.slow
def test_a_wrong_weight_is_noticed(tmp_path):
    model, plan = fire_plan()
    written(tmp_path / "wrong", plan, parallel=20)
    # The last bit but two of one weight.
    weights = tmp_path / "wrong" / "weights_2.hex"
    first, *rest = weights.read_text().splitlines()
    weights.write_text("\n".join([f"{int(first, 16) ^ 4:0{len(first)}x}", *rest]))
    pictures = pictures_like(model.config, 4, seed=2)[2:]
    assert not np.array_equal(simulated(tmp_path / "wrong", pictures, "sim-icarus").logits, reference(plan, pictures))


@needs_verilator
@pytest.mark.slow
@pytest.mark.parametrize("name, parallel", [("digits-nano", 160), ("cifar10-nano", 300)])
def test_pretrained_networks_give_the_bits_of_the_reference(name, parallel, seen_by, tmp_path):
    model = load_model(name)
    plan = integer_plan(model)
    found = written(tmp_path / name, plan, parallel, target=TARGETS["ecp5-85k"])
    pictures = seen_by(model, 5)
    steady, stalled = (simulated(tmp_path / name, pictures, stall=stall) for stall in (0, 60))
    assert np.array_equal(steady.logits, reference(plan, pictures)) and np.array_equal(stalled.logits, steady.logits)
    assert abs(steady.interval / found.cycles - 1) < 0.1
    assert abs((steady.answered[0] - steady.began[0]) / found.latency - 1) < 0.1
    (tmp_path / name / "pictures.hex").write_text("0a")
    done = subprocess.run(["build/simulation"], cwd=tmp_path / name, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "pictures.hex holds 1 bytes: give pictures of" in done.stdout


@needs_verilator
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [name for name in pretrained_names() if not name.startswith("photo")])
def test_200_pictures_of_each_pretrained_network(name, seen_by, tmp_path):
    model = load_model(name)
    plan = integer_plan(model)
    found = written(tmp_path / name, plan, parallel=400)
    pictures = seen_by(model, 200)
    assert len(pictures) == 200
    answers = simulated(tmp_path / name, pictures, stall=10, limit=2_000_000_000)
    assert np.array_equal(answers.logits, reference(plan, pictures))
    assert abs(answers.interval / found.cycles - 1) < 0.1


@needs_verilator
@pytest.mark.long
@pytest.mark.parametrize("name", ["three wide pooling", "odd sides", "grey", "whitened", "squeezed by strides", "residual"])
def test_networks_of_other_shapes_give_the_bits_of_the_reference(name, tmp_path):
    model, plan = small(name)
    found = written(tmp_path / "x", plan, parallel=60)
    pictures = pictures_like(model.config, 6, seed=3)
    steady, stalled = (simulated(tmp_path / "x", pictures, stall=stall) for stall in (0, 60))
    assert np.array_equal(steady.logits, reference(plan, pictures)) and np.array_equal(stalled.logits, steady.logits)
    assert abs(steady.interval / found.cycles - 1) < 0.1


def test_verilog_has_no_vendors_modules(tmp_path):
    _model, plan = fire_plan()
    written(tmp_path / "fire", plan, parallel=20)
    texts = {path.name: path.read_text() for path in (tmp_path / "fire").glob("*.v")}
    known = {name.removesuffix(".v") for name in texts}
    for text in texts.values():
        code = re.sub(r"//.*", "", text)
        assert set(re.findall(r"^\s*(\w+) #\(", code, re.MULTILINE)) - {"module"} <= known
        assert max(map(len, text.splitlines())) <= 130
