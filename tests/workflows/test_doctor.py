"""What is found, and that each problem is told."""

import os
import platform
import subprocess
import tomllib
from pathlib import Path

import pytest

from squeezekit.workflows import doctor
from squeezekit.workflows.doctor import Cache, diagnose

ROOT = Path(__file__).parents[2]
# For developers.
NOT_SAID = {"dev", "docs"}


@pytest.fixture
def healthy(monkeypatch):
    """Everything can be imported, which takes seconds to find out."""
    torch = {"instructions": ["avx2", "sse2"], "used": "AVX2", "threads": 2, "cuda": None, "gpus": []}
    facts = {"torch": torch, "kernels": "compiled", "cache": os.environ["SQUEEZEKIT_CACHE"]}
    monkeypatch.setattr(doctor, "_trial", lambda _modules: (facts, {}))
    return facts


def noted(folder, name, version):
    (folder / f"{name}-{version}.dist-info").mkdir()
    (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_every_extra_is_said_with_what_it_brings():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(extras) - NOT_SAID


@pytest.mark.slow
def test_here_all_is_well():
    """By the real process: every package that is needed is imported under its name."""
    found = diagnose()
    assert found.well, found.problems
    assert found.packages["torch"] and found.threads and found.instructions and found.kernels == "off"
    assert found.cache.folder == os.environ["SQUEEZEKIT_CACHE"] and found.cache.writable


@pytest.mark.slow
def test_a_package_that_ends_python_is_named(tmp_path, monkeypatch):
    (tmp_path / "optuna.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (sentence,) = [problem.sentence for problem in diagnose().problems if problem.stops]
    assert sentence.startswith("optuna cannot be imported (it ends Python") and "pip install" in sentence


def test_a_package_that_hangs_is_named(monkeypatch):
    def hangs(command, *, timeout, **_options):
        # The last line is cut off.
        raise subprocess.TimeoutExpired(command, timeout, output=b'{"trying": "json"}\n{}\n{"trying": "toy_waits"}\n{"tr')

    monkeypatch.setattr(subprocess, "run", hangs)
    assert doctor._trial(["json", "toy_waits"]) == ({}, {"toy_waits": f"that takes more than {doctor.TRIAL_SECONDS} s"})


def test_torch_that_is_too_old_stops_work(healthy, tmp_path, monkeypatch):
    noted(tmp_path, "torch", "2.9.1")
    monkeypatch.syspath_prepend(tmp_path)
    found = diagnose()
    (sentence,) = [problem.sentence for problem in found.problems if problem.stops]
    assert sentence == "torch 2.9.1 is installed, and squeezekit needs torch>=2.10: pip install 'torch>=2.10'"
    assert not found.well and found.as_json()["well"] is False


def test_packages_that_break_one_another_are_remarked(healthy, tmp_path, monkeypatch):
    """numba says which NumPy it can be used with, by way of llvmlite also which of that."""
    noted(tmp_path, "llvmlite", "0.1")
    monkeypatch.syspath_prepend(tmp_path)
    found = diagnose()
    assert any("llvmlite 0.1 is installed, and numba needs llvmlite" in problem.sentence for problem in found.problems)
    assert found.well


def test_an_extra_that_is_not_there_is_no_problem(healthy, monkeypatch):
    there = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: None if name == "onnxruntime" else there(name))
    found = diagnose()
    (extra,) = [each for each in found.extras if "onnxruntime" in each.missing]
    assert extra.pip == "pip install 'squeezekit[onnx]'" and found.well


def test_an_extra_that_is_too_old_is_remarked(healthy, tmp_path, monkeypatch):
    noted(tmp_path, "tuf", "5.0")
    monkeypatch.syspath_prepend(tmp_path)
    found = diagnose()
    assert "tuf 5.0 is installed, and squeezekit needs tuf>=6: pip install 'tuf>=6'" in [each.sentence for each in found.problems]
    assert found.well


def test_what_fails_to_import_is_told_by_the_name_that_pip_knows(healthy, monkeypatch):
    monkeypatch.setattr(doctor, "_trial", lambda _modules: (healthy, {"PIL": "libjpeg.so: cannot open"}))
    assert [each.sentence for each in diagnose().problems if each.stops] == [
        "pillow cannot be imported (libjpeg.so: cannot open): pip install --force-reinstall pillow"
    ]


def test_a_cache_that_cannot_be_written_stops_work(healthy, tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    healthy["cache"] = str(tmp_path / "file")
    found = diagnose()
    assert not found.well and "set SQUEEZEKIT_CACHE" in found.problems[-1].sentence


def test_a_cache_is_counted_and_left_as_it_was(healthy, tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "one").write_bytes(b"12345")
    healthy["cache"] = str(tmp_path)
    assert diagnose().cache == Cache(str(tmp_path), 5, 1, True)
    healthy["cache"] = str(tmp_path / "not" / "yet")
    assert diagnose().cache == Cache(str(tmp_path / "not" / "yet"), 0, 0, True)
    assert [path.name for path in tmp_path.iterdir()] == ["kernels"]


def test_without_a_home_the_sentence_of_the_cache_is_said(healthy):
    healthy["cache_problem"] = "this user has no home folder"
    del healthy["cache"]
    found = diagnose()
    assert found.cache.folder is None and [each.sentence for each in found.problems if each.stops] == [healthy["cache_problem"]]


@pytest.mark.parametrize(("machine", "remarked"), [("x86_64", True), ("aarch64", False)])
def test_a_processor_without_vectors_is_remarked(healthy, monkeypatch, machine, remarked):
    healthy["torch"]["used"] = "DEFAULT"
    monkeypatch.setattr(platform, "machine", lambda: machine)
    found = diagnose()
    assert found.well and any("AVX2" in each.sentence for each in found.problems) == remarked
