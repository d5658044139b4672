"""Rooms in their order, imports one way, no circles."""

import re
import sys
from collections import Counter
from pathlib import Path

import import_graph
import pytest

SOURCE = Path(__file__).parents[1] / "src" / "squeezekit"


def test_imports_run_one_way():
    graph = import_graph.imports_of(SOURCE)
    assert import_graph.backwards(graph, import_graph.ROOMS) == []


def test_no_files_import_each_other_in_a_circle():
    assert import_graph.cycles(import_graph.imports_of(SOURCE)) == []


def test_every_folder_is_a_room_and_no_file_stands_outside_of_one():
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders == set(import_graph.ROOMS) - {"squeezekit"}
    assert {path.name for path in SOURCE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_nobody_sees_the_command_line():
    graph = import_graph.imports_of(SOURCE)
    entries = {"squeezekit.cli", "squeezekit.__main__"}
    assert not [
        module
        for module, others in graph.items()
        if not module.startswith("squeezekit.cli")
        and module not in entries
        and any(o.startswith("squeezekit.cli") for o in others)
    ]


def test_no_two_public_classes_share_a_name():
    names = Counter(
        name
        for path in SOURCE.rglob("*.py")
        for name in re.findall(r"^class ([A-Z]\w*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_test_files_mirror_source_files():
    """Those of a room, `test_FILE.py` or `test_FILE_….py`; what is of the product as a whole lies in `tests` itself."""
    tests = SOURCE.parents[1] / "tests"
    without = []
    for path in tests.glob("*/**/test_*.py"):
        place = SOURCE / path.parent.relative_to(tests)
        words = path.stem.removeprefix("test_").split("_")
        names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
        if not any((place / f"{name}.py").exists() or (place / name).is_dir() for name in names):
            without.append(path.relative_to(tests).as_posix())
    assert without == []


def test_tests_share_fixtures_and_nothing_else():
    tests = SOURCE.parents[1] / "tests"
    imports = {
        f"{path.relative_to(tests)}: {module}"
        for path in tests.rglob("*.py")
        for module in re.findall(r"^from (tests[\w.]*) import", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert [line for line in sorted(imports) if " tests.fixtures" not in line] == []


@pytest.fixture
def wrong(tmp_path):
    """A package whose first room imports its second, once openly and once inside a function, and with a circle."""
    for path, text in {
        "low/__init__.py": "",
        "low/one.py": "from toy.low import two",
        "low/two.py": "def f():\n    from toy.low.one import x\n    from toy.high.top import y\n",
        "low/typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.high import top\n",
        "high/__init__.py": "",
        "high/top.py": "import toy.low.one",
    }.items():
        file = tmp_path / "toy" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "toy"


def test_what_runs_backwards_or_in_a_circle_is_found(wrong, monkeypatch, capsys):
    graph = import_graph.imports_of(wrong)
    assert import_graph.backwards(graph, ("low", "high")) == ["toy.low.two -> toy.high.top"]
    assert import_graph.cycles(graph) == [["toy.high.top", "toy.low.one", "toy.low.two"]]
    assert import_graph.between_rooms(graph) == {("low", "high"): 1, ("high", "low"): 1}
    out = wrong / "rooms.svg"
    monkeypatch.setattr(sys, "argv", ["import_graph.py", "--source", str(wrong), "--rooms", "low", "high", "-o", str(out)])
    assert import_graph.main() == 1
    assert "1 imports run backwards, 1 circles" in capsys.readouterr().out
    assert out.read_text(encoding="utf-8").count("<path") == 2
