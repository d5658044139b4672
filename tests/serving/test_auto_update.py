"""A service that takes new versions by itself, without dropping a request."""

import hashlib
import threading
import time

from squeezekit.data.digits import load_digits
from tests.fixtures.repositories import published, root_of
from tests.fixtures.service import png, served


def test_a_new_version_while_requests_come(one, versions):
    picture = png(load_digits(image_size=32).test.images[0])
    flags = ["--repo", one / "public", "--trust", root_of(one), "--every", "1"]
    statuses, stop = [], threading.Event()
    with served(one / "serving", *flags) as server:
        model, first = one / "serving" / "model.sqz", server.ask("GET", "/v1/model")[2]["since"]
        assert model.read_bytes() == versions.first.read_bytes()

        def ask():
            while not stop.is_set():
                statuses.append(server.classify(picture)[0])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            published(versions.second, one)
            deadline = time.monotonic() + 90
            while server.ask("GET", "/v1/model")[2]["since"] == first:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert hashlib.sha256(model.read_bytes()).digest() == hashlib.sha256(versions.second.read_bytes()).digest()
        assert set(statuses) == {200} and len(statuses) > 50
        # One that is unfit changes nothing.
        published(versions.unfit, one, check=False)
        assert "version 3 is refused" in next(line for line in server.job.stderr if "no update" in line)
        assert server.classify(picture)[0] == 200 and model.read_bytes() == versions.second.read_bytes()


def test_flags_that_go_together(one, capsys):
    from squeezekit.cli import main

    assert main(["serve", str(one), "--every", "5"]) == 2
    assert "--every goes with --repo" in capsys.readouterr().err
    assert main(["serve", str(one / "x"), "--repo", str(one / "public"), "--every", "0"]) == 2
    assert "give at least 1 second" in capsys.readouterr().err
    assert main(["serve", str(one / "x"), "--repo", str(one / "public")]) == 1
    assert "trusts nobody yet" in capsys.readouterr().err
