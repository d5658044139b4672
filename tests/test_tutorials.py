"""Every notebook of docs/tutorials runs from its first cell to its last, in a fresh process and an empty folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook, tmp_path):
    command = [sys.executable, ROOT / "tests" / "run_notebook.py", notebook]
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    # What a cell prints itself is no pair.
    shown = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(shown) > 5 and not any("object at 0x" in (output or "") for _, output in shown)
    if notebook.stem == "library":
        assert {"digits.sqz", "digits.html", "digits-c", "plain.sqz"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(notebook):
    """What would go stale, and make every change of it unreadable."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
