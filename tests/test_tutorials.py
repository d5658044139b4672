"""Every notebook of docs/tutorials runs from its first cell to its last, in a namespace and a folder of its own.

Short, what it trains is cut down (`tests/fixtures/commands.py`); whole, before a release, nothing is.
"""

import json
from pathlib import Path

import pytest

from tests.fixtures.commands import shorten
from tests.fixtures.notebook import run

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("length", ["short", pytest.param("whole", marks=pytest.mark.long)])
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, length, tmp_path, monkeypatch, forgets_networks):
    monkeypatch.chdir(tmp_path)
    if length == "short":
        shorten(monkeypatch)
    shown = list(run(notebook))
    assert len(shown) > 5 and not any("object at 0x" in (output or "") for _, output in shown)
    if notebook.stem == "library":
        assert {"digits.sqz", "digits.html", "digits-c", "plain.sqz"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(notebook):
    """What would go stale, and make every change of it unreadable."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
