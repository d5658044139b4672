import os
from pathlib import Path

import pytest

from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes, read_outside_json, read_outside_text, read_outside_toml


def test_a_byte_order_mark_is_not_part_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfsecret\n")
    assert read_outside_text(tmp_path / "text") == "secret\n"


def test_bytes_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"caf\xe9\n")
    with pytest.raises(SqueezekitError, match=r"text: is not UTF-8 \(byte 3\)"):
        read_outside_text(tmp_path / "text")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SqueezekitError, match="pipe: is not a file"):
        read_outside_bytes(tmp_path / "pipe", 10)


def test_a_folder_a_missing_file_and_a_file_of_too_many_bytes_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    for path, reason in (
        (tmp_path, "(is not a file|cannot be read)"),
        (tmp_path / "none", "cannot be read"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(SqueezekitError, match=reason):
            read_outside_bytes(path, 10)
    with pytest.raises(SqueezekitError, match="larger than 10 bytes"):
        read_outside_bytes(tmp_path / "large", 10)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": NaN}', '{"a": 1e999}', "{", "\x00"])
def test_json_that_is_none_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(SqueezekitError, match=r"a.json: not valid JSON"):
        read_outside_json(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a =", "a = 1\na = 2"])
def test_toml_that_is_none_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SqueezekitError, match=r"a.toml: not valid TOML"):
        read_outside_toml(tmp_path / "a.toml")
