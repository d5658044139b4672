"""The picture of a terminal shows what commands print today."""

import sys
from pathlib import Path

import pytest
import terminal_pictures

FOLDER = Path(__file__).parents[1] / "docs" / "terminal"


@pytest.mark.slow
def test_pictures_are_of_today(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["terminal_pictures.py", "--out", str(tmp_path)])
    terminal_pictures.main()
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn and drawn == {path.name: path.read_text() for path in FOLDER.iterdir()}
