"""Addresses that are refused, and what servers say on the way to a terminal."""

import os

import pytest
from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError

from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.updates.fetcher import Fetcher, FetchLimits, base_address
from squeezekit.updates.update import update
from tests.fixtures.server import serving, whole
from tests.fixtures.site import web


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://models.example.org/x", "ftp://models.example.org/x: is neither an http:// or https:// address nor a folder"),
        ("ftp://ada:SECRET@models.example.org", "ftp://models.example.org: is neither"),
        ("file:///etc", "file:///etc: is neither"),
        (
            "https://ada:SECRET@models.example.org/x",
            "models.example.org/x: give the address like this, without a user name",
        ),
        ("https://SECRET@models.example.org", "https://models.example.org: give the address like this"),
        ("HTTPS://ada:SECRET@models.example.org", "HTTPS://models.example.org: give the address like this"),
        ("https://models.example.org/x?token=SECRET", "https://models.example.org/x: give the address like this"),
        ("https://models.example.org/x#SECRET", "https://models.example.org/x: give the address like this"),
        ("https://ada:SEC/RET@models.example.org", "https://models.example.org: is no address"),
        ("https://ada:SECRET@[x", "https://\\[x: is no address"),
        ("https://", "https://: is no address .it names no host"),
        ("https://host:99999", "is no address .Port out of range"),
        ("https://host:0", "is no address"),
        ("nowhere", "nowhere: is neither"),
        ("a\0b", "is neither"),
    ],
)
def test_addresses_that_are_refused_without_their_secrets(two, address, said):
    with pytest.raises(SqueezekitError, match=said) as raised:
        update(address, two / "device")
    assert "SEC" not in str(raised.value) and "RET" not in str(raised.value)
    assert not any(b"SECRET" in path.read_bytes() for path in (two / "device").rglob("*") if path.is_file())


def test_addresses_that_are_taken(tmp_path):
    for address in ("http://localhost:8000", "https://models.example.org/@team/x", "HTTP://[::1]/x"):
        assert base_address(address) == address == base_address(f"{address}/")
    assert base_address(str(tmp_path)) == str(tmp_path)


def test_what_a_server_says_is_escaped_and_short(two):
    def answer(request):
        request.wfile.write(b"HTTP/1.1 500 \x1b[31mred\x1b]0;title\x07" + b"x" * 5000 + b"\r\n\r\n")

    def nonsense(request):
        request.wfile.write(b"\x1b[2J" * 3000 + b"\r\n\r\n")

    for way in (answer, nonsense):
        with web(two / "public") as (address, _, ways), pytest.raises(RunFailed, match="cannot be fetched from") as raised:
            ways["/metadata/timestamp.json"] = way
            update(address, two / "device")
        assert str(raised.value).isprintable() and len(str(raised.value)) < 500


def test_redirects_end(two):
    """Also those to other schemes, and those without an end."""

    def to(place):
        def redirect(request):
            request.send_response(302)
            request.send_header("Location", place)
            request.end_headers()

        return redirect

    for place in ("ftp://127.0.0.1/x", "file:///etc/hostname", "/metadata/timestamp.json", "http://u:p@127.0.0.1:1/x"):
        with web(two / "public") as (address, requests, ways), pytest.raises(RunFailed, match="cannot be fetched from"):
            ways["/metadata/timestamp.json"] = to(place)
            update(address, two / "device")
        assert len(requests) < 20
    with web(two / "public") as (other, _, _), web(two / "public") as (address, _, ways):
        ways["/metadata/timestamp.json"] = to(f"{other}/metadata/timestamp.json")
        assert update(address, two / "device").version == 2


def test_metadata_are_bounded_whatever_was_signed():
    with serving({"/long": whole(b" " * (1 << 21))}) as (address, _), pytest.raises(DownloadLengthMismatchError):
        Fetcher().download_bytes(f"{address}/long", 1 << 40)


def test_a_folder_with_things_that_are_no_files(two):
    timestamp = two / "public" / "metadata" / "timestamp.json"
    timestamp.unlink()
    os.mkfifo(timestamp)
    with pytest.raises(RunFailed, match="cannot be fetched from .it is not a file"):
        update(str(two / "public"), two / "device")
    for name in ("a\0b", str(two)):
        with pytest.raises(DownloadError):
            list(Fetcher().append(name, two / "new", 10))


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_rates_that_are_none(rate):
    with pytest.raises(SqueezekitError, match="--slowest"):
        FetchLimits(min_rate=rate)
