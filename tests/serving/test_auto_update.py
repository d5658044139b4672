"""A service that takes new versions by itself, without dropping a request."""

import pytest

from squeezekit.cli import main
from squeezekit.data.digits import load_digits
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
            server.renewed(first)
        assert model.read_bytes() == versions.second.read_bytes()
        assert set(statuses) == {200} and len(statuses) > 30
        # An update that fails changes nothing.
        (one / "public" / "metadata" / "timestamp.json").write_text("dust")
        assert "no repository that can be trusted" in server.told("no update")
        assert server.classify(picture)[0] == 200 and model.read_bytes() == versions.second.read_bytes()


def test_flags_that_go_together(one, capsys):
    assert main(["serve", str(one), "--every", "5"]) == 2
    assert "--every goes with --repo" in capsys.readouterr().err
    assert main(["serve", str(one / "x"), "--repo", str(one / "public"), "--every", "0"]) == 2
    assert "give at least 1 second" in capsys.readouterr().err


@pytest.mark.slow
def test_a_service_that_trusts_nobody_does_not_start(one, capsys):
    assert main(["serve", str(one / "x"), "--repo", str(one / "public")]) == 1
    assert "trusts nobody yet" in capsys.readouterr().err
