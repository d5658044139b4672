"""No more processors are counted than may be used."""

import os

import pytest

from squeezekit.system import processors
from squeezekit.system.processors import usable_processors


@pytest.fixture(autouse=True)
def four(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 2, 4, 6}, raising=False)
    monkeypatch.setattr(processors, "QUOTA", tmp_path / "cpu.max")


def test_those_of_the_affinity(monkeypatch):
    assert usable_processors() == 4


@pytest.mark.parametrize(("quota", "count"), [("150000 100000\n", 2), ("50000 100000", 1), ("max 100000", 4), ("?", 4)])
def test_as_many_as_a_container_has_time_for(quota, count):
    processors.QUOTA.write_text(quota)
    assert usable_processors() == count
