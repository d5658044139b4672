"""Files of a run folder that are not what training has written: one sentence, at once."""

import functools
import json
import math
import os
import shutil
import struct
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from squeezekit import SqueezekitError
from squeezekit.networks import network_config
from squeezekit.search.space import named_space
from squeezekit.training import run_files
from squeezekit.training.loop import Trainer
from squeezekit.training.run_files import read_facts, read_split, read_summary
from squeezekit.training.run_folder import Run
from squeezekit.training.settings import read_config, read_tables
from squeezekit.training.train import train
from tests.fixtures.mutation import findings
from tests.fixtures.tiny import SMALL

FACTS = {"source": "digits", "classes": ["a", "b"], "fingerprint": "f", "test_fingerprint": "t"}


@pytest.mark.parametrize(
    "changed",
    [
        [],
        {"classes": 5},
        {"classes": ["a"]},
        {"classes": ["a", "a"]},
        {"classes": ["a", "b", "c"]},
        {"classes": [["a"], {"b": 1}]},
        {"classes": ["a", "\ud800"]},
        {"source": 5},
        {"fingerprint": None},
    ],
)
def test_facts_that_are_none(tmp_path, changed):
    path = tmp_path / "data.json"
    path.write_text(json.dumps({**FACTS, "launch": None}))
    assert read_facts(path, 2)["classes"] == ["a", "b"]
    path.write_text(json.dumps({**FACTS, **changed} if changed else changed))
    with pytest.raises(SqueezekitError, match=r"data\.json: .*train again") as error:
        read_facts(path, 2)
    assert "Value error" not in str(error.value)


def test_a_loss_that_was_no_number_comes_back(tiny_run, tmp_path):
    run = Run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    summary = tiny_run.summary
    summary["validation"] = {**summary["validation"], "loss": math.nan, "loss_error": math.inf}
    run.write_summary(summary)
    assert json.loads((run.folder / "summary.json").read_text())["validation"]["loss"] is None
    assert math.isnan(run.summary["validation"]["loss"]) and run.summary["test"] == summary["test"]


@pytest.mark.parametrize(
    "changed",
    [
        {"validation": {"accuracy": "<b>", "loss": "x"}},
        {"validation": 3},
        {"epochs": -1},
        {"versions": 3},
        {"parameters": "many"},
    ],
)
def test_a_summary_of_another_shape_is_named(tiny_run, tmp_path, changed):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**tiny_run.summary, **changed}))
    with pytest.raises(SqueezekitError, match=r"summary\.json: damaged \(.*\); train again"):
        read_summary(path)


def packed(path, **members):
    """A `.npz` file of the members' bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def array(shape, content=b""):
    head = ("{'descr': '<i4', 'fortran_order': False, 'shape': " + repr(shape) + ", }").ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


@pytest.mark.parametrize(
    ("training", "validation"),
    [
        (array((10**12,)), array((1,), bytes(4))),
        (array((1,), bytes(4)), array((1,), bytes(4))),
        (array((1,), b"\xff" * 4), array((1,), bytes(4))),
        (array((0,)), array((1,), bytes(4))),
        (array((2, 1), bytes(8)), array((1,), bytes(4))),
        (array(()), b""),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535, array((1,), bytes(4))),
    ],
)
def test_a_split_that_is_none(tmp_path, training, validation):
    with pytest.raises(SqueezekitError, match=r"split\.npz: damaged"):
        read_split(packed(tmp_path / "split.npz", training=training, validation=validation))


def test_a_split_larger_than_any_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "MOST_BYTES_OF_SPLIT", 2**22)
    path = packed(tmp_path / "split.npz", training=bytes(2**22 + 1), validation=array((1,), bytes(4)))
    assert path.stat().st_size < 2**20
    with pytest.raises(SqueezekitError, match="which no list of images needs"):
        read_split(path)


def test_objects_in_a_split_are_not_made(tmp_path):
    np.savez(tmp_path / "split.npz", training=np.array([{}], dtype=object), validation=np.array([1]))
    with pytest.raises(SqueezekitError, match="not a list of indices"):
        read_split(tmp_path / "split.npz")


def test_indices_of_images_that_are_not_there(tiny_run, tmp_path):
    run = Run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    np.savez(run.folder / "split.npz", training=np.array([0, 10**9]), validation=np.array([1]))
    (run.folder / "summary.json").unlink()
    with pytest.raises(SqueezekitError, match=r"split\.npz: damaged \(there are only [\d,]+ images\)"):
        train(out=run.folder, resume=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("name", ["best.safetensors", "last.pt", "data.json", "split.npz", "metrics.csv", "summary.json"])
def test_a_pipe_keeps_nobody_waiting(tiny_run, tmp_path, name):
    run = Run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    (run.folder / name).unlink()
    os.mkfifo(run.folder / name)
    with pytest.raises(SqueezekitError, match="is not a file"):
        _everything(run)


def _everything(run):
    return run.network(), run.checkpoint(), run.data, run.split, run.history, run.summary


@pytest.mark.parametrize("text", ["", "epoch\n1\n", "epoch,seconds\n" + "x" * 200_000, "\ufeff"])
def test_metrics_of_another_shape(tiny_run, tmp_path, text):
    run = Run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    (run.folder / "metrics.csv").write_text(text)
    try:
        assert run.history == []
    except SqueezekitError as error:
        assert "metrics.csv: damaged" in str(error)


def _changed(state, name, **fields):
    return {**state, name: {**state[name], **fields}}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [1, 2],
        lambda state: {"epoch": 1},
        lambda state: _changed(state, "progress", history="none"),
        lambda state: _changed(state, "progress", step=10**6),
        lambda state: _changed(state, "progress", history=[{"epoch": 1}] * 10),
        lambda state: {**state, "best": {"x": torch.zeros(1)}},
        lambda state: {**state, "network": {}},
        lambda state: {**state, "optimizer": None},
        lambda state: _changed(state, "stopping", patience="x"),
    ],
)
def test_a_checkpoint_of_another_shape_is_named(tiny_run, tmp_path, change, monkeypatch):
    run = Run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    state = run.checkpoint()
    torch.save(change(state), run.folder / "last.pt")
    (run.folder / "summary.json").unlink()
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("it trains"))
    with pytest.raises(SqueezekitError, match=r"last\.pt: damaged \(.*\); delete it to start over"):
        train(out=run.folder, resume=True)


def test_a_checkpoint_with_packed_parts_is_not_unpacked(tmp_path, tiny_run):
    run = Run(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    with (
        zipfile.ZipFile(tiny_run.folder / "last.pt") as whole,
        zipfile.ZipFile(run.folder / "last.pt", "w", zipfile.ZIP_DEFLATED) as written,
    ):
        for member in whole.namelist():
            written.writestr(member, whole.read(member))
    with pytest.raises(SqueezekitError, match=r"last\.pt: damaged \(it is packed"):
        run.checkpoint()


def _read(name, content):
    """What reads a file of that name, of a folder that holds nothing else."""
    readers = {
        "config.toml": read_config,
        "settings.toml": read_tables,
        "space.toml": lambda path: named_space(str(path), "squeezenet-cifar"),
        "data.json": lambda path: read_facts(path, 10),
        "summary.json": read_summary,
        "split.npz": read_split,
        "last.pt": lambda path: _run_in(path.parent).checkpoint(),
        "metrics.csv": lambda path: _run_in(path.parent).history,
        "best.safetensors": lambda path: _run_in(path.parent).network(),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        readers[name](Path(folder) / name)


def _run_in(folder):
    run = Run.__new__(Run)
    run.folder, run.config = folder, SimpleNamespace(network=network_config("squeezenet-cifar", channels=1, **SMALL))
    return run


WEIGHTS = "best.safetensors"
ATTACKS = {
    "toml": [b"a=" + b"[" * 5000, b"[" + b".".join([b"a"] * 5000) + b"]", b"[network]\nname = nan\n", b"\xef\xbb\xbf[run]\n"],
    "json": [b"[" * 5000, b'{"classes": ["\\ud800", "b"]}', b"NaN", b"1e999", b"9" * 5000],
    "npz": [b"PK\x05\x06" + bytes(18)],
    "csv": [b"epoch\n" + b"9" * 5000],
    "pt": [b"PK\x05\x06" + bytes(18), b"\x80\x02}q\x00."],
    "safetensors": [struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 10**9) + b"{}"],
}


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["config.toml", "settings.toml", "space.toml", "data.json", "summary.json", "split.npz", "last.pt", "metrics.csv", WEIGHTS],
)
def test_mutated_files_end_in_one_sentence(tiny_run, name):
    files = {"settings.toml": "config.toml"}
    own = tiny_run.folder / files.get(name, name)
    good = own.read_bytes() if own.exists() else b"[network]\nsqueeze_ratio = [0.25, 0.5]\ndropout = {low = 0, high = 0.5}\n"
    tokens = [b"nan", b"inf", b"null", b"[", b"{", b"]]", b'"', b"\\ud800", b"-1", b"1e999", b"true", b"0x7fffffffffffffff"]
    read = functools.partial(_read, name)
    found = findings(read, [good, *ATTACKS[name.rpartition(".")[2]]], count=600, tokens=tokens, megabytes=1024)
    assert found == []
