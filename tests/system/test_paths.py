"""Home folders in front of paths."""

from pathlib import Path

import pytest

from squeezekit.system.paths import anchored, expanded


def test_the_home_folder_takes_the_place_of_the_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/run") == tmp_path / "run"
    assert expanded(Path("~")) == tmp_path


@pytest.mark.parametrize("path", ["~nobody-of-this-name/run", "~photos", "a/~/b", "", "x~"])
def test_what_is_no_home_stays_as_it_is_written(path):
    assert expanded(path) == Path(path)


def test_a_user_without_a_home_gets_the_path_as_it_is_written(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert expanded("~/run") == Path("~/run")


def test_what_exists_is_found_from_any_folder_and_what_does_not_is_a_name(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert anchored("runs") == str(tmp_path / "runs")
    assert anchored("efficientnet-lite0") == "efficientnet-lite0"
