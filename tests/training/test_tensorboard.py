"""Curves that cannot be written are given up; the training is not."""

import errno
import io
import threading

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from squeezekit.training.train import train
from tests.fixtures.tiny import TINY


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_that_is_full_for_the_curves_alone(tmp_path, monkeypatch, capfd):
    def full(self, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    before = threading.excepthook
    run = train("digits", out=tmp_path / "run", epochs=1, **TINY)
    assert run.summary["validation"] and threading.excepthook is before
    said = capfd.readouterr().err
    assert said.count("curves are not written any more ([Errno 28] No space left on device)") == 1
    assert "Traceback" not in said


def test_a_file_where_their_folder_would_be(tmp_path, capfd):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").touch()
    run = train("digits", out=tmp_path / "run", epochs=1, resume=True, **TINY)
    assert run.summary["validation"] and "curves are not written any more" in capfd.readouterr().err


def test_errors_of_other_threads_are_shown_as_ever(tmp_path, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(threading, "excepthook", lambda arguments: shown.write(str(arguments.exc_value)))

    def fails():
        raise RuntimeError("of a thread of the user's")

    def beside(_row):
        thread = threading.Thread(target=fails)
        thread.start()
        thread.join()

    train("digits", out=tmp_path / "run", epochs=1, on_epoch=beside, **TINY)
    assert shown.getvalue() == "of a thread of the user's"
