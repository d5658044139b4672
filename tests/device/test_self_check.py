"""The self-check passes what is whole on a device, and nothing else."""

import weakref
from dataclasses import replace

import pytest

from squeezekit.device import self_check
from squeezekit.device.library import library_path
from squeezekit.device.model import read_model
from squeezekit.device.self_check import self_check_problem
from squeezekit.pretrained.files import model_path
from tests.fixtures.device_files import file_of
from tests.fixtures.exported import EVERY_NETWORK
from tests.fixtures.repositories import unfit

pytestmark = pytest.mark.skipif(not library_path().exists(), reason="a device has Linux on x86-64 or AArch64")


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_every_kind_of_network_passes(name, tmp_path):
    file_of(name, tmp_path / "small.sqz")
    assert self_check_problem(read_model(tmp_path / "small.sqz")) is None


@pytest.mark.parametrize(("name", "most"), [("plain", 5), ("residual", 5)])
def test_feature_maps_that_nothing_reads_any_more_are_let_go(name, most, tmp_path, monkeypatch):
    file_of(name, tmp_path / "small.sqz")
    model, made, counts, kept = read_model(tmp_path / "small.sqz"), self_check._FloatMap, [], []

    def counted(*values):
        new = made(*values)
        kept.append(weakref.ref(new))
        counts.append(sum(each() is not None for each in kept))
        return new

    monkeypatch.setattr(self_check, "_FloatMap", counted)
    assert self_check_problem(model) is None
    assert max(counts) <= most < len(model.structure.parts)


@pytest.mark.parametrize("name", ["cifar10-pico", "digits-nano"])
def test_pretrained_networks_pass_and_changed_ones_do_not(name, tmp_path):
    model = read_model(model_path(name))
    assert self_check_problem(model) is None
    assert self_check_problem(replace(model, seeds=(), expected=())) == "it carries no self-check"
    (tmp_path / "unfit.sqz").write_bytes(unfit(model_path(name).read_bytes()))
    assert self_check_problem(read_model(tmp_path / "unfit.sqz")).startswith("it fails its self-check, its answers differ by ")
