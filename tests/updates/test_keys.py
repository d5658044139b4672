"""Folders of keys: whose they are, and what is there already."""

import errno
import os
import shutil

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

from squeezekit.system.errors import SqueezekitError
from squeezekit.updates.keys import KeyRing
from squeezekit.updates.repository import Repository
from tests.fixtures.repositories import PASSPHRASE, newest, published


def test_the_root_of_another_repository_is_never_replaced(one, versions):
    root = one / "keys" / "root.json"
    before = {path: path.read_bytes() for path in (one / "keys").iterdir()}
    with pytest.raises(SqueezekitError, match=r"root.json: is the root of another repository; give another folder with --keys"):
        Repository.create(one / "other", KeyRing([one / "keys"], [PASSPHRASE]))
    assert not (one / "other").exists()
    assert {path: path.read_bytes() for path in (one / "keys").iterdir()} == before
    assert published(versions.second, one).version == 2
    # Nor by one that comes at the same time, nor through a link.
    ring = KeyRing([one / "new"], [PASSPHRASE])
    ring.make("root")
    (one / "new" / "root.json").symlink_to(root)
    with pytest.raises(SqueezekitError, match="is the root of another repository"):
        ring.keep_root(b"another")
    assert root.read_bytes() == before[root]


def test_a_folder_that_everybody_may_change_is_refused(one):
    (one / "keys").chmod(0o777)
    with pytest.raises(
        SqueezekitError, match=r"keys: everybody may write there \(mode 0777\); keep keys to yourself with chmod 700"
    ):
        newest(one)
    (one / "keys").chmod(0o775)
    assert newest(one).renew()


def test_a_folder_of_somebody_else_is_refused(one, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    shutil.copytree(one / "keys", one / "theirs")
    monkeypatch.setattr(type(one), "stat", _owned_by(1234, type(one).stat))
    with pytest.raises(SqueezekitError, match="theirs: belongs to another user; keep keys in a folder of your own"):
        KeyRing([one / "theirs"], [PASSPHRASE])


def _owned_by(user, real):
    def stat(path, **options):
        found = list(real(path, **options))
        found[4] = user
        return os.stat_result(found)

    return stat


def test_a_passphrase_that_is_not_text(one):
    with pytest.raises(SqueezekitError, match="the passphrase is not in UTF-8; write it into a file"):
        KeyRing([one / "keys"], ["p\udce9"])


def test_keys_of_0_1_still_open(one):
    """Which `cryptography` had written, with 2,048 rounds."""
    for path in (one / "keys").glob("*.pem"):
        private = load_pem_private_key(path.read_bytes(), PASSPHRASE.encode())
        old = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode()))
        path.write_bytes(old)
    assert newest(one).renew() == (["timestamp"], [])


def test_a_key_that_is_no_file_is_missing(one):
    (path,) = (one / "keys").glob("timestamp-*")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SqueezekitError, match="1 more of the keys of timestamp must sign"):
        newest(one).renew()


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            Repository.create(tmp_path / "public", KeyRing([tmp_path / "keys"], [PASSPHRASE]))
        with pytest.raises(OSError, match="No space left"):
            KeyRing([tmp_path / "keys"], [PASSPHRASE]).keep_root(b"root")
    assert not list((tmp_path / "keys").iterdir())
    Repository.create(tmp_path / "public", KeyRing([tmp_path / "keys"], [PASSPHRASE]))
