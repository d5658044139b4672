"""Keys, thresholds, rotation, expiry; and a publisher that is killed."""

import json
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from functools import cache, partial

import pytest

import squeezekit.updates.publish as module
from squeezekit.system.errors import SqueezekitError
from squeezekit.updates.keys import KeyRing
from squeezekit.updates.repository import Quorum, Repository
from squeezekit.updates.update import update
from tests.fixtures.copies import in_a_copy
from tests.fixtures.repositories import PASSPHRASE, newest, published, root_of


def test_keys_are_encrypted_and_ones_own(one):
    for path in (one / "keys").glob("*.pem"):
        assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name.split("-")[0] for path in (one / "keys").glob("*.pem")} == {"root", "targets", "snapshot", "timestamp"}
    with pytest.raises(SqueezekitError, match="under another passphrase"):
        Repository(one / "public", KeyRing([one / "keys"], ["another"])).renew()
    with pytest.raises(SqueezekitError, match="passphrase is empty"):
        KeyRing([one / "keys"], [""])


def test_a_damaged_key_is_named(one):
    (path,) = (one / "keys").glob("timestamp-*")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SqueezekitError, match=path.name):
        newest(one).renew()


def test_a_threshold_needs_keys_from_several_folders(tmp_path, versions):
    """As where each of three people holds a key."""
    people = [tmp_path / name for name in ("ada", "bob", "cyd")]
    Repository.create(tmp_path / "public", KeyRing([tmp_path / "keys"], [PASSPHRASE]), {"root": Quorum(2, 3)})
    for person, key in zip(people, sorted((tmp_path / "keys").glob("root-*")), strict=True):
        person.mkdir()
        key.rename(person / key.name)
    published(versions.first, tmp_path)
    before = sorted((tmp_path / "public" / "metadata").iterdir())
    for some in ([tmp_path / "keys"], [tmp_path / "keys", people[0]]):
        with pytest.raises(SqueezekitError, match="1 more of the keys of root must sign|2 more of the keys of root"):
            Repository(tmp_path / "public", KeyRing(some, [PASSPHRASE])).rotate("timestamp")
    assert sorted((tmp_path / "public" / "metadata").iterdir()) == before
    Repository(tmp_path / "public", KeyRing([tmp_path / "keys", *people[:2]], [PASSPHRASE])).rotate("timestamp")
    assert update(str(tmp_path / "public"), tmp_path / "device", trust=root_of(tmp_path)).version == 1


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_a_device_follows_every_rotation(two, role):
    old = set(newest(two).root.signed.roles[role].keyids)
    made = newest(two).rotate(role)
    now = newest(two).root.signed
    assert now.version == 2 and not old & set(now.roles[role].keyids) and [key[:8] for key in now.roles[role].keyids] == made
    # By name of the file, so that a lost key is not needed.
    for path in (two / "keys").glob(f"{role}-*"):
        if path.stem.removeprefix(f"{role}-") not in made:
            path.unlink()
    assert newest(two).renew() == (["timestamp"], [])
    assert update(str(two / "public"), two / "device").version == 2


def test_one_key_of_three_is_replaced(tmp_path, versions):
    Repository.create(tmp_path / "public", KeyRing([tmp_path / "keys"], [PASSPHRASE]), {"root": Quorum(2, 3)})
    keys = newest(tmp_path).root.signed.roles["root"].keyids
    newest(tmp_path).rotate("root", only=keys[1][:8])
    now = newest(tmp_path).root.signed.roles["root"]
    assert set(keys) - set(now.keyids) == {keys[1]} and len(now.keyids) == 3 and now.threshold == 2
    for options, said in (
        ({"only": "zz"}, "has no key 'zz'"),
        ({"only": keys[0], "quorum": Quorum(1, 2)}, "--threshold only where"),
    ):
        with pytest.raises(SqueezekitError, match=said):
            newest(tmp_path).rotate("root", **options)
    newest(tmp_path).rotate("root", quorum=Quorum(3, 4))
    now = newest(tmp_path).root.signed.roles["root"]
    assert (now.threshold, len(now.keyids)) == (3, 4)


def test_renewing_signs_what_is_half_expired(one):
    repository = Repository(
        one / "public", KeyRing([one / "keys"], [PASSPHRASE]), {"root": 800, "targets": 400, "snapshot": 1, "timestamp": 1}
    )
    assert repository.renew() == (["root", "targets", "snapshot", "timestamp"], [])
    assert (newest(one).root.signed.version, newest(one).targets.signed.version) == (2, 3)
    left = newest(one).targets.signed.expires - datetime.now(UTC)
    assert timedelta(days=399) < left <= timedelta(days=400)
    assert newest(one).renew() == (["snapshot", "timestamp"], [])
    assert update(str(one / "public"), one / "device").version == 1


@pytest.mark.parametrize(("needed", "keys"), [(0, 1), (2, 1), (1, 17)])
def test_thresholds_that_make_no_sense(needed, keys):
    with pytest.raises(SqueezekitError, match="1 to 16"):
        Quorum(needed, keys)


def test_where_there_is_or_is_no_repository(one, tmp_path):
    with pytest.raises(SqueezekitError, match="is a repository already"):
        Repository.create(one / "public", KeyRing([one / "keys"], [PASSPHRASE]))
    with pytest.raises(SqueezekitError, match="is no repository; make one with squeezekit keys create"):
        Repository(tmp_path)
    (one / "public" / "metadata" / "timestamp.json").write_text("dust")
    with pytest.raises(SqueezekitError, match=r"timestamp.json: cannot be read"):
        newest(one)


def test_nothing_is_signed_that_was_not_signed_before(two, versions):
    """Whoever can write where it is published, and has no key, gets nothing signed."""
    metadata = two / "public" / "metadata"
    for name in ("3.targets.json", "3.snapshot.json", "timestamp.json", "1.root.json"):
        kept = (metadata / name).read_bytes()
        content = json.loads(kept)
        content["signed"]["version" if "targets" in name else "expires"] = 3 if "targets" in name else "2999-01-01T00:00:00Z"
        content["signed"]["targets"] = {} if "targets" in name else content["signed"].get("targets", {})
        (metadata / name).write_text(json.dumps(content))
        for change in (lambda: published(versions.first, two), lambda: newest(two).renew(), lambda: newest(two).rotate("root")):
            with pytest.raises(SqueezekitError, match=f"{name}: .*restore it"):
                change()
        (metadata / name).write_bytes(kept)
    other = two / "other"
    Repository.create(other / "public", KeyRing([other / "keys"], [PASSPHRASE]))
    shutil.copy(other / "public" / "metadata" / "1.root.json", metadata / "2.root.json")
    with pytest.raises(SqueezekitError, match=r"2.root.json: .*restore it"):
        newest(two)
    (two / "keys" / "root.json").unlink()
    with pytest.raises(SqueezekitError, match=r"lacks root.json, the first root"):
        newest(two)


def test_a_rotation_without_all_keys_changes_nothing(two):
    before = {path: path.read_bytes() for path in (two / "public" / "metadata").iterdir()}
    (key,) = (two / "keys").glob("snapshot-*")
    key.rename(two / "aside.pem")
    with pytest.raises(SqueezekitError, match="1 more of the keys of snapshot must sign"):
        newest(two).rotate("targets")
    assert {path: path.read_bytes() for path in (two / "public" / "metadata").iterdir()} == before
    (two / "aside.pem").rename(key)
    newest(two).rotate("targets")
    assert update(str(two / "public"), two / "device").version == 2


def test_a_lost_key_is_replaced_as_well(two):
    (key,) = (two / "keys").glob("targets-*")
    key.unlink()
    newest(two).rotate("targets")
    assert update(str(two / "public"), two / "device").version == 2


@pytest.mark.slow
def test_a_rotation_killed_at_any_write_goes_on_for_devices(two, tmp_path):
    ended, number = False, 0
    while not ended:
        work = tmp_path / "work" / str(number)
        shutil.copytree(two, work, ignore=lambda *_: ["work"])
        number += 1
        ended = in_a_copy(_killed_before, number, partial(newest(work).rotate, "timestamp")) == 0
        assert update(str(work / "public"), work / "device").version == 2
        assert newest(work).renew()[0][-1] == "timestamp"
        shutil.rmtree(work)
    assert number == 4


def test_a_nightly_renewal_does_without_the_keys_in_the_drawer(one, tmp_path):
    for role in ("root", "targets"):
        (key,) = (one / "keys").glob(f"{role}-*")
        key.rename(tmp_path / key.name)
    long = {"root": 800, "targets": 800, "snapshot": 800}
    repository = Repository(one / "public", KeyRing([one / "keys"], [PASSPHRASE]), long)
    assert repository.renew() == (["snapshot", "timestamp"], ["root", "targets"])
    assert update(str(one / "public"), one / "device").version == 1


@pytest.mark.slow
def test_a_device_follows_hundreds_of_roots(one):
    """Also from the first one."""
    repository = newest(one)
    for _ in range(150):
        grown = repository._next_root()
        repository._sign_root(repository.root, grown)
        repository._write(f"{grown.signed.version}.root.json", grown)
        repository.root = grown
        if grown.signed.version % 40 == 0:
            assert update(str(one / "public"), one / "device").version == 1
    for folder in ("device", "new"):
        assert update(str(one / "public"), one / folder, trust=root_of(one)).version == 1
    assert len((one / "device" / "trusted.json").read_bytes()) < 2500


def test_keys_under_several_passphrases(tmp_path, versions):
    one, other = KeyRing([tmp_path / "one"], ["eins"]), KeyRing([tmp_path / "other", tmp_path / "one"], ["zwei", "eins"])
    Repository.create(tmp_path / "public", one)
    Repository(tmp_path / "public", other).rotate("timestamp")
    with pytest.raises(SqueezekitError, match="keys of timestamp must sign"):
        Repository(tmp_path / "public", one).renew()
    with pytest.raises(SqueezekitError, match="timestamp-.*under another passphrase"):
        Repository(tmp_path / "public", KeyRing([tmp_path / "one", tmp_path / "other"], ["eins"])).renew()
    assert Repository(tmp_path / "public", other).renew() == (["timestamp"], [])


@pytest.mark.slow
def test_a_publisher_killed_at_any_write_leaves_a_whole_repository(one, versions, tmp_path, monkeypatch):
    """And the next start goes on; devices find the old version or the new one, never neither."""
    monkeypatch.setattr(module, "delta_between", cache(module.delta_between))
    module.delta_between(versions.first.read_bytes(), versions.second.read_bytes())
    seen, number = set(), 0
    while "done" not in seen:
        work = tmp_path / str(number)
        shutil.copytree(one, work)
        number += 1
        # Checked by the fixture that made it; PyTorch does not compute in copies of a process.
        if in_a_copy(_killed_before, number, partial(published, versions.second, work, check=False)) == 0:
            seen.add("done")
        for folder in ("device", "new"):
            seen.add(update(str(work / "public"), work / folder, trust=root_of(work)).version)
        assert published(versions.second, work, check=False).version == 2
    assert seen == {"done", 1, 2} and number > 6


def _killed_before(number, do):
    """Do it, and end this process, as if the power went, just before its n-th file takes its place."""
    real, count = os.replace, 0

    def replace(*names):
        nonlocal count
        count += 1
        if count == number:
            os._exit(9)
        real(*names)

    os.replace = replace
    do()
