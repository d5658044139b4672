"""Results on standard output: whole, inert, and valid where programs read them."""

import io
import json
import math
import re
from pathlib import Path

import pytest
from rich import console as rich_console

import squeezekit.cli
from squeezekit.system.standard_output import show, show_json, show_table

LONG = "Tomato___Spider_mites_Two-spotted_spider_mite_on_lower_leaf"
HEADS, ROW = ("class", "precision", "images"), (LONG, "0.123456789", "1,234,567")


def on_a_terminal(monkeypatch, columns):
    """What `show_table` draws there."""
    screen, plain = io.StringIO(), rich_console.Console
    monkeypatch.setattr(
        rich_console,
        "Console",
        lambda **options: plain(file=screen, force_terminal=True, color_system=None, _environ={}, **{"width": columns} | options),
    )
    show_table(HEADS, [ROW], folds=["class"])
    return screen.getvalue()


def test_what_a_terminal_would_obey_is_an_escape_and_a_line_is_one_line(capsys):
    show("\x1b[31mred\x1b[0m\x07 a\nb \ud800 猫")
    assert capsys.readouterr().out == "\\x1b[31mred\\x1b[0m\\x07 a\\x0ab \\ud800 猫\n"


def test_json_has_null_for_what_is_no_number(capsys):
    show_json({"loss": math.nan, "rates": [1.5, math.inf, (-math.inf, "NaN\x1b")], "none": None})
    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=pytest.fail) == {
        "loss": None,
        "rates": [1.5, None, [None, "NaN\x1b"]],
        "none": None,
    }
    assert "\x1b" not in text and text.count("\n") == 1


@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_table_in_a_file_is_whole_whatever_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    show_table(HEADS, [ROW, ("[bold]\x1b[31m:smile:", "1", "2")], folds=["class"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split(" ")[1::2][:1] == [LONG] and "0.123456789 │ 1,234,567 │" in lines[3]
    assert "[bold]\\x1b[31m:smile:" in lines[4] and len({len(line) for line in lines}) == 1


def test_on_a_narrow_terminal_names_are_folded_and_numbers_whole(monkeypatch):
    text = on_a_terminal(monkeypatch, 50)
    assert "0.123456789" in text and "1,234,567" in text and "…" not in text
    names = (line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│"))
    assert "".join(names) == LONG
    assert max(map(len, text.splitlines())) <= 50


def test_a_table_without_rows_and_columns_that_stand_at_the_right(capsys):
    show_table(HEADS, [])
    show_table(("name", "bytes"), [("a", "1"), ("b", "1,000")], numbers=["bytes"])
    text = capsys.readouterr().out
    assert "precision" in text and "│ a    │     1 │" in text


def test_every_command_prints_through_here():
    """No other file of a command writes to standard output."""
    for path in Path(squeezekit.cli.__file__).parent.glob("*.py"):
        prints = re.findall(r"(?<![\w.])print\(.*", path.read_text(encoding="utf-8"))
        assert all("file=sys.stderr" in line for line in prints), path
        assert not re.search(r"sys\.stdout\.write|json\.dumps|rich", path.read_text(encoding="utf-8")), path
