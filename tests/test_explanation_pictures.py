"""The pictures of docs/explanations show the pretrained models and the planner of today."""

import sys
from pathlib import Path

import explanation_pictures

FOLDER = Path(__file__).parents[1] / "docs" / "explanations"


def test_pictures_are_of_today(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["explanation_pictures.py", "--out", str(tmp_path)])
    explanation_pictures.main()
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(drawn) == 3 and drawn == {path.name: path.read_text() for path in FOLDER.glob("*.svg")}
