"""Downloading from servers that stall, cut off, send wrong bytes and refuse."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from squeezekit.data.download import DownloadLimits, download
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.server import begin, cut_off, refusing, serving, slow, stalling, whole

CONTENT = np.random.default_rng(0).bytes(400_000)
WRONG = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = DownloadLimits(timeout=0.4, min_rate=1_000_000, window=0.3)


@pytest.fixture
def fetch(tmp_path):
    """Download from paths of one server, or from whole addresses; returns the requests that were made."""
    target = tmp_path / "file.tar.gz"

    def run(ways, *paths, limits=QUICK):
        with serving(ways) as (address, requests):
            try:
                addresses = [path if "://" in path else address + path for path in paths]
                assert download(target, addresses, size=len(CONTENT), md5=MD5, limits=limits) == target
            finally:
                run.requests = requests
        assert target.read_bytes() == CONTENT
        assert not partial_of(target).exists()
        return requests

    run.target, run.requests = target, []
    return run


def partial_of(target):
    return target.with_name(target.name + ".partial")


def test_the_first_address_that_works_is_enough(fetch):
    assert fetch({"/a": whole(CONTENT), "/b": whole(CONTENT)}, "/a", "/b") == [("/a", None)]


def test_a_digest_may_be_sha256(tmp_path):
    target, digest = tmp_path / "file", hashlib.sha256(CONTENT).hexdigest()
    with serving({"/a": whole(WRONG), "/b": whole(CONTENT)}) as (address, _):
        download(target, [f"{address}/a", f"{address}/b"], size=len(CONTENT), sha256=digest)
        assert target.read_bytes() == CONTENT
        with pytest.raises(SqueezekitError, match="other content.* and call it a day$"):
            download(tmp_path / "x", [f"{address}/a"], size=len(CONTENT), sha256=digest, otherwise="call it a day")


def test_what_is_there_is_not_fetched_again(fetch):
    fetch({"/a": whole(CONTENT)}, "/a")
    assert fetch({"/a": refusing(500)}, "/a") == []


@pytest.mark.parametrize("found", [WRONG, CONTENT[:1000], CONTENT + b"x", b""])
def test_a_damaged_file_is_fetched_again(found, fetch):
    fetch.target.write_bytes(found)
    assert fetch({"/a": whole(CONTENT)}, "/a") == [("/a", None)]


@pytest.mark.parametrize("code", [403, 404, 500, 503])
def test_an_address_that_refuses_is_left(code, fetch, capfd):
    assert fetch({"/a": refusing(code), "/b": whole(CONTENT)}, "/a", "/b") == [("/a", None), ("/b", None)]
    assert f"answered {code}" in capfd.readouterr().err


def test_a_closed_port_and_an_unknown_host_are_left(fetch):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    dead = [f"http://127.0.0.1:{port}/a", "http://nowhere.invalid/a", "nonsense://x"]
    assert fetch({"/b": whole(CONTENT)}, *dead, "/b") == [("/b", None)]


def test_a_server_that_never_answers_is_left(fetch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin_time = time.monotonic()
        fetch({"/b": whole(CONTENT)}, f"http://127.0.0.1:{silent.getsockname()[1]}/a", "/b")
        assert time.monotonic() - begin_time < 3


def test_an_address_that_stalls_is_left_and_the_next_goes_on_from_there(fetch, capfd):
    requests = fetch({"/a": stalling(CONTENT, 150_000), "/b": whole(CONTENT)}, "/a", "/b")
    assert requests == [("/a", None), ("/b", "bytes=150000-")]
    assert "stalled; going on with 127.0.0.1" in capfd.readouterr().err


def test_an_address_that_breaks_off_is_left_and_the_next_goes_on_from_there(fetch):
    requests = fetch({"/a": cut_off(CONTENT, 150_000), "/b": whole(CONTENT)}, "/a", "/b")
    assert requests == [("/a", None), ("/b", "bytes=150000-")]


def test_the_only_address_is_asked_again_while_it_gives_something(fetch):
    requests = fetch({"/a": cut_off(CONTENT, 150_000)}, "/a")
    assert requests == [("/a", None), ("/a", "bytes=150000-"), ("/a", "bytes=300000-")]


def test_an_address_that_gives_next_to_nothing_is_not_asked_for_ever(fetch):
    with pytest.raises(SqueezekitError, match="broke off after 10 of 400,000 bytes"):
        fetch({"/a": cut_off(CONTENT, 10)}, "/a")
    assert len(fetch.requests) == 1


def test_wrong_bytes_are_thrown_away(fetch, capfd):
    assert fetch({"/a": whole(WRONG), "/b": whole(CONTENT)}, "/a", "/b") == [("/a", None), ("/b", None)]
    assert "sent a file with other content" in capfd.readouterr().err


def test_nothing_wrong_is_ever_kept(fetch):
    with pytest.raises(SqueezekitError, match="other content"):
        fetch({"/a": whole(WRONG)}, "/a")
    assert not fetch.target.exists()
    assert not partial_of(fetch.target).exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_wrong_beginning_does_not_condemn_the_address_that_finished_it(ranges, fetch):
    partial_of(fetch.target).write_bytes(bytes(100_000))
    requests = fetch({"/a": whole(CONTENT, ranges=ranges)}, "/a")
    assert requests == [("/a", "bytes=100000-"), ("/a", None)]


@pytest.mark.parametrize("other", [CONTENT[:-100], CONTENT + b"more", b"<html>sign in</html>"])
def test_a_file_of_another_length_is_left_before_it_is_read(other, fetch, capfd):
    partial_of(fetch.target).write_bytes(CONTENT[:10])
    requests = fetch({"/a": whole(other), "/b": whole(CONTENT)}, "/a", "/b")
    assert requests[-1] == ("/b", "bytes=10-")
    assert f"offers a file of {len(other):,} bytes instead of 400,000" in capfd.readouterr().err


def test_a_length_that_is_not_told_is_no_obstacle(fetch):
    def untold(content):
        def answer(request):
            request.send_response(200)
            request.end_headers()
            request.wfile.write(content)

        return answer

    fetch({"/a": untold(CONTENT)}, "/a")
    fetch.target.unlink()
    fetch({"/a": untold(CONTENT + b"more than there should be")}, "/a")


def test_a_server_that_ignores_ranges_is_read_over(fetch):
    partial_of(fetch.target).write_bytes(CONTENT[:250_000])
    assert fetch({"/a": whole(CONTENT, ranges=False)}, "/a") == [("/a", "bytes=250000-")]


def test_a_server_that_ignores_ranges_and_breaks_off_costs_nothing_that_was_there(fetch):
    partial_of(fetch.target).write_bytes(CONTENT[:250_000])
    with pytest.raises(SqueezekitError):
        fetch({"/a": lambda request: request.wfile.write(begin(request, CONTENT, ranges=False)[:9000])}, "/a")
    assert partial_of(fetch.target).read_bytes() == CONTENT[:250_000]


def test_a_server_that_cannot_satisfy_the_range_is_asked_for_the_whole(fetch):
    def picky(request):
        if request.headers.get("Range"):
            request.send_error(416)
        else:
            request.wfile.write(begin(request, CONTENT))

    partial_of(fetch.target).write_bytes(CONTENT[:250_000])
    assert fetch({"/a": picky}, "/a") == [("/a", "bytes=250000-"), ("/a", None)]


def test_a_server_that_resumes_elsewhere_is_left(fetch):
    def elsewhere(request):
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 200-{len(CONTENT) - 1}/{len(CONTENT)}")
        request.end_headers()
        request.wfile.write(CONTENT[200:])

    partial_of(fetch.target).write_bytes(CONTENT[:100])
    assert fetch({"/a": elsewhere, "/b": whole(CONTENT)}, "/a", "/b")[1] == ("/b", "bytes=100-")


@pytest.mark.parametrize("length", [400_000, 400_001, 900_000])
def test_a_partial_file_that_is_too_long_or_wrong_is_begun_anew(length, fetch):
    partial_of(fetch.target).write_bytes(bytes(length))
    assert fetch({"/a": whole(CONTENT)}, "/a") == [("/a", None)]


def test_a_whole_partial_file_needs_no_server(fetch):
    partial_of(fetch.target).write_bytes(CONTENT)
    assert fetch({}, "/a") == []


def test_a_slow_address_is_left_and_the_next_goes_on_from_there(fetch, capfd):
    requests = fetch({"/a": slow(CONTENT, 20_000, 0.1), "/b": whole(CONTENT)}, "/a", "/b")
    assert [path for path, _ in requests] == ["/a", "/b"]
    assert requests[1][1] is not None
    assert "gave only" in capfd.readouterr().err


def test_the_last_address_is_kept_however_slow(fetch):
    requests = fetch({"/a": refusing(404), "/b": slow(CONTENT, 40_000, 0.1)}, "/a", "/b")
    assert requests == [("/a", None), ("/b", None)]


def test_a_slow_address_is_come_back_to_when_no_other_works(fetch):
    requests = fetch({"/a": slow(CONTENT, 40_000, 0.1), "/b": refusing(404)}, "/a", "/b")
    assert [path for path, _ in requests] == ["/a", "/b", "/a"]


@pytest.mark.slow
def test_when_all_are_slow_one_is_kept(fetch):
    ways = {path: slow(CONTENT, 30_000, 0.1) for path in ("/a", "/b")}
    assert [path for path, _ in fetch(ways, "/a", "/b")] == ["/a", "/b", "/a"]


@pytest.mark.parametrize("address", ["ftp://user:secret@127.0.0.1:9/a", "file:///etc/passwd", "http://user:secret@127.0.0.1:9/a"])
def test_only_http_is_spoken_and_no_password_is_echoed(address, fetch, capfd):
    with pytest.raises(SqueezekitError) as caught:
        fetch({}, address)
    assert "secret" not in str(caught.value) + capfd.readouterr().err


def test_a_redirection_to_something_else_is_not_followed(fetch):
    def elsewhere(request):
        request.send_response(302)
        request.send_header("Location", "ftp://127.0.0.1:9/file.tar.gz")
        request.end_headers()

    with pytest.raises(SqueezekitError, match="unknown url type: ftp"):
        fetch({"/a": elsewhere}, "/a")


def test_a_redirection_by_http_is_followed(fetch):
    def elsewhere(request):
        request.send_response(302)
        request.send_header("Location", "/b")
        request.end_headers()

    assert [path for path, _ in fetch({"/a": elsewhere, "/b": whole(CONTENT)}, "/a")] == ["/a", "/b"]


def test_what_is_there_needs_no_lock(fetch, monkeypatch):
    fetch.target.write_bytes(CONTENT)
    monkeypatch.setattr("squeezekit.data.download.one_at_a_time", lambda _: pytest.fail("it was locked"))
    assert fetch({}) == []


def test_when_all_fail_each_reason_is_told_in_one_sentence_and_the_way_out(fetch):
    with pytest.raises(SqueezekitError) as caught:
        fetch({"/a": refusing(503), "/b": stalling(CONTENT, 1_000)}, "/a", "/b")
    sentence = str(caught.value)
    for part in ("file.tar.gz", "answered 503", "stalled", "give --data its path"):
        assert part in sentence
    assert "\n" not in sentence
    assert partial_of(fetch.target).read_bytes() == CONTENT[:1_000]


def test_a_full_disk_is_not_blamed_on_the_servers(fetch, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("squeezekit.data.download._append", full)
    with pytest.raises(OSError, match="No space left"):
        fetch({"/a": whole(CONTENT), "/b": whole(CONTENT)}, "/a", "/b")
    assert fetch.requests == [("/a", None)]


PROGRAM = """
import signal
import sys
from pathlib import Path
# A shell lets what it starts in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from squeezekit.data.download import DownloadLimits, download
target, size, md5, *addresses = sys.argv[1:]
download(Path(target), addresses, size=int(size), md5=md5, limits=DownloadLimits(min_rate=0))
"""


def start(target, *addresses):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(target), str(len(CONTENT)), MD5, *addresses])


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on_where_it_was(kill, fetch):
    with serving({"/a": slow(CONTENT, 20_000, 0.4)}) as (address, _):
        process = start(fetch.target, address + "/a")
        while not (partial_of(fetch.target).exists() and partial_of(fetch.target).stat().st_size > 50_000):
            time.sleep(0.02)
        process.send_signal(kill)
        process.wait()
    arrived = partial_of(fetch.target).stat().st_size
    assert not fetch.target.exists()
    assert fetch({"/a": whole(CONTENT)}, "/a") == [("/a", f"bytes={arrived}-")]


@pytest.mark.slow
def test_two_processes_at_once_fetch_once(fetch):
    with serving({"/a": slow(CONTENT, 40_000, 0.05)}) as (address, requests):
        processes = [start(fetch.target, address + "/a") for _ in range(2)]
        assert [process.wait() for process in processes] == [0, 0]
        assert requests == [("/a", None)]
    assert fetch.target.read_bytes() == CONTENT
    assert os.listdir(fetch.target.parent).count("file.tar.gz.partial") == 0  # noqa: PTH208
