"""Compiled code is kept, checked before it is used, and made again where it is damaged."""

import os

import pytest

from squeezekit.acceleration.kernel_cache import compile_in_background, kernels_ready

pytestmark = pytest.mark.slow


def plus_one(number):
    return number + 1


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder for compiled code, into which a function was compiled."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    again()
    (folder,) = tmp_path.iterdir()
    return folder


def again():
    """Calls the function as another process would; how often it was loaded, and compiled."""
    from squeezekit.acceleration import compiled_code

    compiled_code._say_damaged.cache_clear()
    function = compiled_code.compiled()(plus_one)
    assert function(41) == 42
    return sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values())


def flipped(content):
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]


DAMAGE = {"empty": lambda _: b"", "cut": lambda content: content[:-9], "one bit": flipped, "pickle": lambda _: b"\x80\x04N."}


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_made_again_and_that_is_said(suffix, damage, kept, capsys):
    assert again() == (1, 0)
    (path,) = kept.glob(f"*.{suffix}")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    capsys.readouterr()
    assert again() == (0, 1)
    said = capsys.readouterr().err
    assert said == f"compiled code in {kept} is damaged: it is made again\n"
    assert again() == (1, 0)
    assert capsys.readouterr().err == ""


def test_files_that_are_gone_are_made_again(kept):
    for suffix in ("nbc", "nbi"):
        (path,) = kept.glob(f"*.{suffix}")
        path.unlink()
        assert again() == (0, 1)
        assert again() == (1, 0)


def test_a_folder_that_cannot_be_written_is_read_and_otherwise_done_without(kept, monkeypatch):
    from squeezekit.acceleration import compiled_code

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(compiled_code._Place, "ensure_cache_path", refuse)
    assert again() == (1, 0)
    for path in kept.iterdir():
        path.unlink()
    assert again() == (0, 1)
    assert list(kept.iterdir()) == []


def test_a_user_without_a_home_has_it_compiled_each_time(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("SQUEEZEKIT_CACHE")
    monkeypatch.delenv("SQUEEZEKIT_KERNELS")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert again() == again() == (0, 1)
    assert not kernels_ready()
    compile_in_background()
