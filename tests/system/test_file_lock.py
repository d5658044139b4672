"""One process at a time, whoever made the file."""

from pathlib import Path

import pytest

from squeezekit.system.file_lock import one_at_a_time


def test_a_lock_that_another_user_made_needs_only_be_read(tmp_path, monkeypatch):
    (tmp_path / "lock").touch()
    opened, modes = Path.open, []

    def of_another_user(path, mode):
        modes.append(mode)
        if mode != "rb":
            raise PermissionError(13, "Permission denied")
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", of_another_user)
    with one_at_a_time(tmp_path / "lock"):
        assert modes == ["ab", "rb"]


def test_a_lock_that_can_be_neither_made_nor_read_is_an_error(tmp_path):
    with pytest.raises(OSError), one_at_a_time(tmp_path / "missing" / "lock"):
        pass
