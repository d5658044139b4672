"""What machine this is said to be."""

import pytest

from squeezekit.system import machine


@pytest.mark.parametrize(
    ("text", "name"),
    [("processor\t: 0\nmodel name\t: Fast (R) 3000\nflags: x\n", "Fast (R) 3000"), ("processor\t: 0\n", "the one of Python")],
)
def test_the_name_is_the_makers_or_else_what_python_says(text, name, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.processor", lambda: "the one of Python")
    machine.CPU_INFO.write_text(text)
    assert machine.processor_name() == name


@pytest.mark.parametrize(("limit", "found"), [("1048576\n", 2**20), ("max\n", 2**32), (str(2**40), 2**32)])
def test_memory_is_no_more_than_a_container_may_have(limit, found, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**20}.__getitem__)
    monkeypatch.setattr(machine, "MEMORY_LIMIT", tmp_path / "memory.max")
    assert machine.memory_bytes() == 2**32
    machine.MEMORY_LIMIT.write_text(limit)
    assert machine.memory_bytes() == found
