"""Wrong usage: one sentence in the user's words, whatever was typed."""

import pytest

from squeezekit.cli import main


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--epochs", "many"], "argument --epochs: 'many' is not a whole number"),
        (["train", "--mean", "a"], "argument --mean: 'a' is not a number"),
        (["evaluate", "m", "--split", "%d %(prog)s {x}"], "invalid choice: '%d %(prog)s {x}'"),
        (["evaluate", "m", "--split", "\x1b[31mx\ud800"], "\\x1b[31mx\\ud800"),
        (["evaluate", "m", "--\x1b]0;own\x07"], "--\\x1b]0;own\\x07"),
        (["describe", "--network", "nano"], "see squeezekit describe --help"),
        (["tr\nain"], "'tr\\x0aain' is not a command"),
        (["train", "--data", "x", "--minuts", "1"], "unrecognized arguments: --minuts 1 (did you mean --minutes?); see"),
        (["train", "--data", "x", "--squeze-ratio=0.5"], "(did you mean --squeeze-ratio?)"),
        (["models", "--xyzzy"], "unrecognized arguments: --xyzzy; see squeezekit models --help"),
    ],
)
def test_wrong_usage_is_said_in_words_and_escapes(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in error and len(error.splitlines()) == 1 and "\x1b" not in error


def test_without_a_command_all_are_listed(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    shown = capsys.readouterr()
    assert ended.value.code == 2 and not shown.out
    assert "  train " in shown.err and "squeezekit COMMAND --help" in shown.err and "required" not in shown.err


@pytest.mark.parametrize("columns", ["0", "1", "12"])
def test_help_on_the_narrowest_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as ended:
        main(["compress", "--help-all"])
    assert ended.value.code == 0 and "--rate-weight" in capsys.readouterr().out
