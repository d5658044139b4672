"""Passphrases are the same, wherever they come from; numbers of flags."""

import os
import sys
import threading

import pytest

from squeezekit.cli.signing import VARIABLE, days, passphrases
from squeezekit.system.errors import SqueezekitError


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (b"pass word", "pass word"),
        (b"pass word\n", "pass word"),
        (b"pass word\r\n", "pass word"),
        (b"\xef\xbb\xbfpass word\r\n", "pass word"),
        (b"\xef\xbb\xbf abc \n", " abc "),
        ("s\u00e9cret\n".encode(), "s\u00e9cret"),
        (b" \n", " "),
        (b"a\nb\n\n", "a\nb"),
    ],
)
def test_only_the_line_end_of_a_file_is_not_part_of_it(tmp_path, monkeypatch, content, first):
    (tmp_path / "secret").write_bytes(content)
    found = passphrases([str(tmp_path / "secret")])
    monkeypatch.setenv(VARIABLE, first)
    assert found[:1] == passphrases(None) == [first]
    # What 0.1 took for it opens old keys, after it.
    old = content.decode().strip()
    assert found[1:] == ([old] if old not in ("", first) else [])


def test_several_files(tmp_path):
    for name, content in (("one", " eins \n"), ("two", "zwei\n")):
        (tmp_path / name).write_text(content)
    assert passphrases([str(tmp_path / "one"), str(tmp_path / "two")]) == [" eins ", "zwei", "eins"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"s\xe9cret\n", "is not text in UTF-8; write"), (b"x" * 100_000, "is larger than"), (None, "cannot be read .No such file")],
)
def test_files_that_hold_none(tmp_path, content, said):
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SqueezekitError, match=f"--passphrase-file .*secret: {said}"):
        passphrases([str(tmp_path / "secret")])
    for other in (str(tmp_path), "a\0b"):
        with pytest.raises(SqueezekitError, match="cannot be read"):
            passphrases([other])


def test_a_pipe(tmp_path):
    """As the shell makes one of `<(pass show models)`."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("pass word\n",))
    writer.start()
    assert passphrases([str(tmp_path / "pipe")]) == ["pass word"]
    writer.join()


class Terminal:
    def __init__(self, *lines):
        self.lines = list(lines)

    def isatty(self):
        return True

    def __call__(self, _prompt):
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


def test_what_is_typed(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    for typed, twice, said in (((" abc ",), False, ""), (("a", "b"), True, "differ"), ((), False, "no passphrase was typed")):
        terminal = Terminal(*typed)
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr("getpass.getpass", terminal)
        if said:
            with pytest.raises(SqueezekitError, match=said):
                passphrases(None, twice=twice)
        else:
            assert passphrases(None, twice=twice) == [" abc "]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SqueezekitError, match=f"give --passphrase-file, or set {VARIABLE}"):
        passphrases(None)


@pytest.mark.parametrize("text", ["0", "-1", "x", "3651", "9" * 5000, "1e3"])
def test_days_that_are_none(text):
    with pytest.raises(SqueezekitError, match="give 1 to 3650 days"):
        days([f"root={text}"])
