"""The model of a service: another takes over only when it is fit, and whatever comes is survived."""

import asyncio
import json
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed; pip install 'squeezekit[serve]'")

from squeezekit import SqueezekitError
from squeezekit.serving import live_model
from squeezekit.serving.live_model import LiveModel
from squeezekit.serving.model_check import fit_classifier


@pytest.fixture(autouse=True)
def _here_and_soon(monkeypatch):
    """Checks in this process, and looks without pause (tests/serving/test_service.py has the processes)."""

    async def problem(model):
        try:
            await asyncio.to_thread(fit_classifier, model)
        except SqueezekitError as error:
            return str(error)
        return ""

    monkeypatch.setattr(live_model, "problem_in_process", problem)
    monkeypatch.setattr(live_model, "POLL_SECONDS", 0.02)


@asynccontextmanager
async def watched(live):
    task = asyncio.create_task(live.watch())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()


async def said(capsys, text):
    """The lines on standard error, as soon as one has this text."""
    lines = ""
    for _ in range(1000):
        lines += capsys.readouterr().err
        if text in lines:
            return lines.splitlines()
        await asyncio.sleep(0.02)
    raise AssertionError(lines)


def replaced(path, content):
    path.with_name("new").write_bytes(content)
    os.replace(path.with_name("new"), path)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:900]), ""),
        (lambda path: replaced(path, b"SQZ\x1anonsense"), ""),
        (lambda path: path.unlink(), "cannot be read (No such file or directory)"),
        pytest.param(a_pipe, "is not a file", marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")),
        (a_folder, "config.toml is missing"),
    ],
    ids=["cut", "nonsense", "gone", "pipe", "folder"],
)
def test_a_bad_file_changes_nothing_and_a_good_one_still_takes_over(tiny_sqz, tmp_path, capsys, spoil, reason):
    path = tmp_path / "model.sqz"
    shutil.copy(tiny_sqz, path)
    live = LiveModel(path)
    first, since = live.classifier, live.since

    async def story():
        async with watched(live):
            spoil(path)
            (line,) = await said(capsys, "the model stays as it was")
            # Told of the file, not of the copy that was checked.
            assert line.startswith(f"the model stays as it was: {path}: ") and reason in line
            assert live.classifier is first and live.since == since
            if path.is_dir():
                path.rmdir()
            replaced(path, tiny_sqz.read_bytes())
            assert await said(capsys, "loaded again") == [f"{path}: loaded again"]
            live.request_reload()
            await said(capsys, "loaded again")

    asyncio.run(story())
    assert live.classifier is not first and live.since > since


def test_a_run_without_classes(tiny_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_run.folder, run)
    live = LiveModel(run)
    data = json.loads((run / "data.json").read_text())

    async def story():
        async with watched(live):
            (run / "data.json").write_text(json.dumps({"source": data["source"]}))
            assert str(run) in (await said(capsys, "the model stays as it was"))[0]
            (run / "data.json").write_text(json.dumps(data))
            await said(capsys, "loaded again")

    asyncio.run(story())


def test_what_is_not_the_file_s_fault_is_tried_again(tiny_sqz, tmp_path, capsys, monkeypatch):
    path, failures = tmp_path / "model.sqz", [OSError(28, "No space left on device"), RuntimeError("can't start new thread")]
    shutil.copy(tiny_sqz, path)
    live = LiveModel(path)

    async def problem(model):
        if failures:
            raise failures.pop(0)
        return ""

    monkeypatch.setattr(live_model, "problem_in_process", problem)
    monkeypatch.setattr(live_model, "RETRY_SECONDS", 0.02)

    async def story():
        async with watched(live):
            replaced(path, tiny_sqz.read_bytes())
            lines = await said(capsys, "loaded again")
            assert [line.partition(": ")[2] for line in lines[:2]] == [
                "[Errno 28] No space left on device",
                "can't start new thread",
            ]

    asyncio.run(story())


def test_the_copy_in_use_is_the_one_that_was_checked(tiny_sqz, tmp_path, capsys):
    """What lies at the path later is not read, not even for the page."""
    path = tmp_path / "model.sqz"
    shutil.copy(tiny_sqz, path)
    live = LiveModel(path)
    path.write_bytes(b"other")
    copy = Path(live.classifier.model.name)
    assert copy != path and copy.read_bytes() == tiny_sqz.read_bytes()

    async def story():
        async with watched(live):
            replaced(path, tiny_sqz.read_bytes())
            live.request_reload()
            await said(capsys, "loaded again")

    asyncio.run(story())
    assert not copy.exists() and Path(live.classifier.model.name).exists()


def test_a_service_does_not_start_with_a_model_that_is_not_fit(tmp_path):
    (tmp_path / "model.sqz").write_bytes(b"SQZ\x1anonsense")
    with pytest.raises(SqueezekitError, match=str(tmp_path / "model.sqz")):
        LiveModel(tmp_path / "model.sqz")
