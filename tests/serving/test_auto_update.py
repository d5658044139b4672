"""A service that takes new versions by itself, without dropping a request."""

import asyncio
import json
from contextlib import suppress

import pytest

from squeezekit.cli import main
from squeezekit.data.digits import load_digits
from squeezekit.serving import auto_update
from squeezekit.serving.auto_update import AutoUpdate
from tests.fixtures.repositories import published, root_of
from tests.fixtures.service import png, served


@pytest.mark.slow
def test_a_new_version_while_requests_come(one, versions):
    picture = png(load_digits(image_size=32).test.images[0])
    flags = ["--repo", one / "public", "--trust", root_of(one), "--every", "2"]
    with served(one / "serving", *flags) as server:
        model, first = one / "serving" / "model.sqz", server.ask("GET", "/v1/model")[2]["since"]
        assert model.read_bytes() == versions.first.read_bytes()
        with server.kept_busy(picture) as statuses:
            published(versions.second, one)
            server.renewed(first, seconds=120)
        assert model.read_bytes() == versions.second.read_bytes()
        assert set(statuses) == {200} and len(statuses) > 30
        # An update that fails changes nothing.
        (one / "public" / "metadata" / "timestamp.json").write_text("dust")
        assert "no repository that can be trusted" in server.told("no update")
        assert server.classify(picture)[0] == 200 and model.read_bytes() == versions.second.read_bytes()


def test_the_watcher_survives_whatever_an_update_does(tmp_path, monkeypatch, capsys):
    ends = [
        (1, "", "squeezekit: the disk is full\n"),
        (-9, "", ""),
        (0, "no JSON", ""),
        (0, "[]", ""),
        (0, "{}", ""),
        OSError(12, "no memory"),
        TimeoutError(),
        RuntimeError("odd"),
        (0, json.dumps({"changed": True, "version": 2, "channel": "stable", "fetched": 1234}), ""),
    ]

    async def run_module(*arguments, seconds):
        if not ends:
            raise asyncio.CancelledError
        if isinstance(end := ends.pop(0), Exception):
            raise end
        return end

    monkeypatch.setattr(auto_update, "run_module", run_module)
    updates = AutoUpdate("public", tmp_path, every=1)
    object.__setattr__(updates, "every", 0)
    with suppress(asyncio.CancelledError):
        asyncio.run(updates.watch())
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("no update: ") for line in lines] == [True] * 8 + [False]
    assert lines[0] == "no update: the disk is full" and "ended without a message" in lines[1]
    assert lines[6] == "no update: it did not end within 3600 s" and lines[8].startswith("version 2 of stable installed")


def test_flags_that_go_together(one, capsys):
    assert main(["serve", str(one), "--every", "5"]) == 2
    assert "--every goes with --repo" in capsys.readouterr().err
    for every in ("0", "nan", "inf", "1e300"):
        assert main(["serve", str(one / "x"), "--repo", str(one / "public"), "--every", every]) == 2
        assert "give at least 1 second" in capsys.readouterr().err


@pytest.mark.slow
def test_a_service_that_trusts_nobody_does_not_start(one, capsys):
    assert main(["serve", str(one / "x"), "--repo", str(one / "public")]) == 1
    assert "trusts nobody yet" in capsys.readouterr().err
