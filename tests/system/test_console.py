"""What a person sees on standard error."""

import io
import subprocess
import sys

from rich.console import Console

from squeezekit.system import console
from squeezekit.system.console import progress_bar, say, silence


def test_importing_it_needs_no_torch():
    code = "import sys, squeezekit.system.console; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_line_goes_to_standard_error_as_it_is_and_silence_holds_it_back(capsys):
    say("[bold] :smile: " + "long " * 60)
    with silence():
        say("nothing")
    found = capsys.readouterr()
    assert found.err == "[bold] :smile: " + "long " * 60 + "\n" and found.out == ""


def test_a_bar_is_shown_on_a_terminal_and_what_is_said_goes_above_it(monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100, _environ={})
    monkeypatch.setattr(console, "Console", lambda **options: terminal)
    monkeypatch.setattr(console, "PATIENCE", 0.0)
    with progress_bar("decoding", 10) as advance:
        advance(4, "note")
        with progress_bar("inner", 10) as inner:
            inner(1)
        say("said meanwhile")
        assert console.console() is terminal
    text = screen.getvalue()
    assert "decoding" in text and "4/10" in text and "note" in text and "said meanwhile" in text and "inner" not in text


def test_a_bar_says_nothing_elsewhere(capsys):
    with progress_bar("decoding", 10) as advance:
        advance(10)
    assert capsys.readouterr().err == ""
