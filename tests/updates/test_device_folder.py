"""What others have put into a device's folder: links, files of theirs, damage."""

import os

import pytest

from squeezekit.system.errors import SqueezekitError
from squeezekit.updates.device_folder import DeviceFolder
from squeezekit.updates.update import go_back, update
from tests.fixtures.repositories import root_of


def test_files_of_others_stay(two):
    device = two / "device"
    theirs = [
        device / name
        for name in (
            "incoming/thesis",
            "incoming/notes.partial",
            "incoming/deep/er",
            "metadata/mine.json",
            ".notes.partial",
            ".metadata-mine/thesis",
            ".metadata-abcdefgh/thesis",
            "model.sqz.bak",
        )
    ]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    ours = [device / f"incoming/{'a' * 64}.partial", device / f"incoming/{'b' * 64}.sqz", device / ".state.json.7.partial"]
    for path in ours:
        path.write_text("ours")
    assert update(str(two / "public"), device).version == 2
    assert all(path.read_text() == "theirs" for path in theirs) and not any(path.exists() for path in ours)


@pytest.mark.parametrize(
    "name", ["incoming", "metadata", "model.sqz", "previous.sqz", "state.json", "trusted.json", ".lock", "metadata/targets.json"]
)
def test_no_link_is_followed(two, name):
    device, elsewhere = two / "device", two / "elsewhere"
    folder = name in ("incoming", "metadata")
    (device / name).exists() and (device / name).rename(two / "aside")
    elsewhere.mkdir() if folder else elsewhere.write_text("theirs")
    (device / name).symlink_to(elsewhere)
    for change in (lambda: update(str(two / "public"), device), lambda: go_back(device)):
        with pytest.raises(SqueezekitError, match=f"{name}: is a link, which an update does not follow; remove it"):
            change()
    assert not list(elsewhere.iterdir()) if folder else elsewhere.read_text() == "theirs"


def test_a_folder_that_a_link_leads_to_is_one(two):
    """The person who gives it means it."""
    (two / "link").symlink_to(two / "device")
    assert update(str(two / "public"), two / "link").version == 2


def test_a_link_in_the_place_of_a_download(two, monkeypatch):
    """It is removed, or not followed where somebody is quick."""
    from squeezekit.updates.fetcher import Fetcher

    secret = two / "secret"
    secret.write_bytes(b"x")
    real = Fetcher.append

    def append(self, url, path, length):
        path.symlink_to(secret)
        return real(self, url, path, length)

    monkeypatch.setattr(Fetcher, "append", append)
    with pytest.raises(OSError, match="symbolic link"):
        update(str(two / "public"), two / "device")
    assert secret.read_bytes() == b"x"


@pytest.mark.parametrize("name", ["model.sqz", "state.json", "trusted.json", "metadata/timestamp.json"])
def test_what_is_no_file_is_named(two, name):
    (two / "device" / name).unlink(missing_ok=True)
    os.mkfifo(two / "device" / name)
    with pytest.raises(SqueezekitError, match=f"{name}: is not a file"):
        update(str(two / "public"), two / "device")


@pytest.mark.parametrize("damage", [b"", b"dust", b"{}", b"[" * 50_000, b"turned"])
def test_a_damaged_root_is_said_to_be_local_with_the_way_back(two, damage, capfd):
    trusted = two / "device" / "trusted.json"
    trusted.write_bytes(trusted.read_bytes().replace(b'"version":1', b'"version":2') if damage == b"turned" else damage)
    said = r"trusted.json: is damaged, on this device and not in the repository; give the root.json .* with --trust"
    with pytest.raises(SqueezekitError, match=said):
        update(str(two / "public"), two / "device")
    assert update(str(two / "public"), two / "device", trust=root_of(two)).version == 2
    assert "is damaged, on this device and not in the repository; going on from that of --trust" in capfd.readouterr().err
    assert not update(str(two / "public"), two / "device").changed


@pytest.mark.parametrize("damage", [b"dust", b"[" * 50_000, b'{"trials": 1e400}', b'{"latest": "2026-01-01T00:00:00"}', b"\xff"])
def test_a_damaged_state_is_said_and_updates_go_on(two, damage, capfd):
    (two / "device" / "state.json").write_bytes(damage)
    assert update(str(two / "public"), two / "device").version == 2
    assert "state.json: was damaged; which models this device has refused is forgotten" in capfd.readouterr().err
    assert DeviceFolder(two / "device").version().number == 2


def test_a_state_of_0_1_is_read(two):
    refused = f'{{"sha256": "{"a" * 64}", "version": 3, "reason": "it was bad"}}'
    (two / "device" / "state.json").write_text(
        f'{{"known": {{}}, "trying": "", "trials": 0, "origin": "", "refused": [{refused}]}}'
    )
    assert DeviceFolder(two / "device").refused("a" * 64).version == 3
