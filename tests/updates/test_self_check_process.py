"""A model is checked in a process of its own; one that passes, where the guide's transcript installs it."""

import signal
import subprocess

import pytest

from squeezekit.system.errors import SqueezekitError
from squeezekit.updates import model_reader
from squeezekit.updates.self_check_process import POSTPONED, UNFIT, Verdict, _main, run_self_check


@pytest.mark.slow
def test_what_is_tried(versions, tmp_path, capsys, monkeypatch):
    refused = run_self_check(versions.unfit)
    assert refused.unfit and refused.reason.startswith("it fails its self-check, its answers differ by ")
    # What that process does, in this one, which no alarm shall end.
    monkeypatch.setattr(signal, "alarm", lambda _seconds: None)
    for model, code, said in ((versions.second, 0, ""), (versions.unfit, UNFIT, refused.reason)):
        assert _main(str(model), "100") == code and capsys.readouterr().out.strip() == said
    (tmp_path / "dust.sqz").write_bytes(b"dust")
    assert _main(str(tmp_path / "dust.sqz"), "100") == UNFIT and "not a .sqz file" in capsys.readouterr().out


def raising(error, cause=None):
    """What raises an error, perhaps because of another, which `from None` hides from people and not from us."""

    def check(_sqz):
        try:
            if cause:
                raise cause
        except Exception:
            raise error from None
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError("none left"), None),
        (OSError(28, "No space left on device"), None),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), None),
        (SqueezekitError("its network cannot be built"), RuntimeError("can't allocate memory")),
        (SqueezekitError("its network cannot be built"), OSError(28, "No space left on device")),
        (SqueezekitError("its network cannot be built"), MemoryError()),
    ],
)
def test_what_says_nothing_of_the_model(versions, monkeypatch, capsys, error, cause):
    """The disk is full, memory is short: the next check may end otherwise."""
    monkeypatch.setattr(model_reader, "problem_of_file", raising(error, cause))
    monkeypatch.setattr(signal, "alarm", lambda _seconds: None)
    assert _main(str(versions.second), "100") == POSTPONED
    assert str(error) in capsys.readouterr().out
    # A file that cannot even be read, either.
    assert _main("/nowhere.sqz", "100") == POSTPONED


def test_what_says_something_of_the_model(versions, monkeypatch, capsys):
    monkeypatch.setattr(signal, "alarm", lambda _seconds: None)
    for error, cause in (
        (SqueezekitError("its network asks for much memory"), None),
        (SqueezekitError("damaged"), ValueError("x")),
    ):
        monkeypatch.setattr(model_reader, "problem_of_file", raising(error, cause))
        assert _main(str(versions.second), "100") == UNFIT
        assert str(error) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "out", "verdict"),
    [
        (0, "", Verdict()),
        (UNFIT, "it fails\n", Verdict("it fails", unfit=True)),
        (POSTPONED, "no space\n", Verdict("no space")),
        (1, "", Verdict("the process that checked it ended with code 1")),
        (-signal.SIGKILL, "", Verdict("the process that checked it was ended by SIGKILL")),
        (-signal.SIGALRM, "", Verdict("the process that checked it was ended by SIGALRM")),
        (-signal.SIGSEGV, "", Verdict("the process that checked it was ended by SIGSEGV", crashed=True)),
    ],
)
def test_how_the_process_may_end(tmp_path, monkeypatch, code, out, verdict):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code, out, ""))
    assert run_self_check(tmp_path / "model.sqz") == verdict


def test_a_process_that_cannot_begin(tmp_path, monkeypatch):
    def run(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "run", run)
    assert run_self_check(tmp_path / "model.sqz") == Verdict("its check could not begin (Cannot allocate memory)")
