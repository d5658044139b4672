"""A model is checked in a process of its own; one that passes, where the guide's transcript installs it."""

import signal

import pytest

from squeezekit.updates.self_check_process import UNFIT, _main, run_self_check


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
