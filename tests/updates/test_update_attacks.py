"""Everything that a hostile repository, mirror or network can do to a device: each with the error that it gives, and no harm."""

import hashlib
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from squeezekit.system.errors import RunFailed
from squeezekit.updates.channels import delta_name
from squeezekit.updates.device_folder import DeviceFolder
from squeezekit.updates.fetcher import FetchLimits
from squeezekit.updates.keys import KeyRing
from squeezekit.updates.repository import Quorum, Repository
from squeezekit.updates.update import update
from tests.fixtures.changed_files import changed
from tests.fixtures.repositories import PASSPHRASE, newest, published, root_of
from tests.fixtures.server import slow, stalling, whole
from tests.fixtures.site import web

# All that a device has after an update.
DEVICE = {"model.sqz", "previous.sqz", "state.json", "trusted.json", ".lock"}
DEVICE |= {f"metadata/{name}.json" for name in ("timestamp", "snapshot", "targets")}
IMPATIENT = FetchLimits(min_rate=20_000, window=0.25)


@pytest.fixture
def refuses(two, versions):
    """That the device of `two` refuses, by what it says, and keeps its model; where `ways` change what the web server gives."""

    def check(said, ways=None, **options):
        before = sorted(str(path.relative_to(two)) for path in two.rglob("*") if "device" not in path.parts)
        with web(two / "public") as (address, _, answers), pytest.raises(RunFailed, match=said) as raised:
            answers.update(ways or {})
            update(address, two / "device", **options)
        assert (two / "device" / "model.sqz").read_bytes() == versions.first.read_bytes()
        # Nothing outside of the device's own folder.
        assert before == sorted(str(path.relative_to(two)) for path in two.rglob("*") if "device" not in path.parts)
        return raised.value

    return check


def metadata(folder, name):
    return Metadata.from_file(str(folder / "public" / "metadata" / name))


def compact(signed):
    return signed.to_bytes(JSONSerializer(compact=True))


def targets_file(folder, part):
    (path,) = [path for path in (folder / "public" / "targets").iterdir() if part in path.name]
    return path


def test_a_wrong_signature(two, refuses):
    for name in ("timestamp.json", "3.snapshot.json", "3.targets.json"):
        forged = metadata(two, name)
        forged.signatures.clear()
        forged.sign(CryptoSigner.generate_ed25519(), append=True)
        refuses(
            "too few of the keys that this device trusts have signed it; nothing was installed",
            {f"/metadata/{name}": whole(compact(forged))},
        )


def test_one_byte_more_or_less(two, refuses):
    content = json.loads((two / "public" / "metadata" / "timestamp.json").read_text())
    content["signed"]["expires"] = "2999-01-01T00:00:00Z"
    refuses("too few of the keys", {"/metadata/timestamp.json": whole(json.dumps(content).encode())})
    refuses("no repository that can be trusted", {"/metadata/timestamp.json": whole(b"{}")})
    refuses("no repository that can be trusted", {"/metadata/timestamp.json": whole(b"\xff" * 100)})


def test_too_few_signatures(tmp_path, versions):
    ring = KeyRing([tmp_path / "keys"], [PASSPHRASE])
    Repository.create(tmp_path / "public", ring, {"targets": Quorum(2, 3)})
    published(versions.first, tmp_path)
    assert len(metadata(tmp_path, "2.targets.json").signatures) == 2
    half = metadata(tmp_path, "2.targets.json")
    half.signatures.popitem()
    with web(tmp_path / "public") as (address, _, ways), pytest.raises(RunFailed, match="too few of the keys"):
        ways["/metadata/2.targets.json"] = whole(compact(half))
        update(address, tmp_path / "device", trust=root_of(tmp_path))
    assert update(str(tmp_path / "public"), tmp_path / "device", trust=root_of(tmp_path)).version == 1


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_a_freeze(two, refuses, role):
    """Signed by the right keys, but out of date: somebody keeps newer versions from us, or the publisher sleeps."""
    repository = newest(two)
    old = getattr(repository, role)
    if role == "root":
        repository.root.signed.version += 1
    old.signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5)
    for signer in repository._key_ring.signers(repository.root.signed, role):
        old.signatures.clear()
        old.sign(signer, append=True)
    name = "timestamp.json" if role == "timestamp" else f"{old.signed.version}.{role}.json"
    said = "expired: nobody has renewed it, or somebody holds newer versions back"
    refuses(said, {f"/metadata/{name}": whole(compact(old))})


def test_a_rollback(two, versions):
    """What was signed before, and is older than what the device has seen."""
    earlier = (two / "public" / "metadata" / "timestamp.json").read_bytes()
    published(versions.first, two)
    assert update(str(two / "public"), two / "device").version == 3
    with web(two / "public") as (address, _, ways), pytest.raises(RunFailed, match="older than, or other than, what was signed"):
        ways["/metadata/timestamp.json"] = whole(earlier)
        update(address, two / "device")


def test_a_rollback_by_whoever_has_the_keys(two, versions):
    """A new signature on an old version: the number that the device has is larger."""
    update(str(two / "public"), two / "device")
    whole_file = (versions.first.read_bytes(), {"version": 1})
    newest(two).publish({"stable.sqz": whole_file}, instead_of="stable.from-")
    with pytest.raises(RunFailed, match="offers version 1, older than version 2 in use"):
        update(str(two / "public"), two / "device")


def test_enormous_versions_of_a_thief_end_with_the_keys(two, versions):
    """After new keys the publisher's ordinary numbers are taken again."""
    newest(two).publish({"stable.sqz": (versions.second.read_bytes(), {"version": 10**9})}, instead_of="stable.from-")
    assert update(str(two / "public"), two / "device").version == 10**9
    for role in ("targets", "snapshot", "timestamp"):
        newest(two).rotate(role)
    repository = newest(two)
    repository.publish({"stable.sqz": (versions.first.read_bytes(), {"version": 3})}, instead_of="stable.from-")
    assert update(str(two / "public"), two / "device").version == 3


@pytest.mark.parametrize("version", [0, -1, "2", None, True, 2**60])
def test_versions_that_are_none(two, versions, version):
    newest(two).publish({"stable.sqz": (versions.second.read_bytes(), {"version": version})}, instead_of="stable.from-")
    with pytest.raises(RunFailed, match="does not say which version|no repository that can be trusted"):
        update(str(two / "public"), two / "device")


def test_files_of_no_length(two, versions):
    first = versions.first.read_bytes()
    resign(two, delta_name("stable", first), b"")
    assert update(str(two / "public"), two / "device").by_delta is False
    resign(two, "stable.sqz", b"", {"version": 7})
    with pytest.raises(RunFailed, match="version 7 is refused: .*not a .sqz file"):
        update(str(two / "public"), two / "device")


def test_mix_and_match(two, refuses, versions):
    """Parts of two states of the repository, each signed by the right keys."""
    old = {name: (two / "public" / "metadata" / f"3.{name}.json").read_bytes() for name in ("snapshot", "targets")}
    published(versions.first, two)
    # The snapshot first: what a device has verified of it, it does not fetch again.
    for name in ("snapshot", "targets"):
        refuses("older than, or other than", {f"/metadata/4.{name}.json": whole(old[name])})


def endless(request):
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(b" " * 65536)
    except OSError:
        pass


def test_endless_data(two, refuses, versions):
    for path in ("/metadata/2.root.json", "/metadata/timestamp.json", "/metadata/3.snapshot.json", "/metadata/3.targets.json"):
        refuses("sent more than it may", {path: endless})
    delta, model = targets_file(two, ".from-"), targets_file(two, hashlib.sha256(versions.second.read_bytes()).hexdigest())
    refuses("sent more than it may", {f"/targets/{delta.name}": endless, f"/targets/{model.name}": endless})
    assert all(path.stat().st_size <= model.stat().st_size for path in (two / "device" / "incoming").iterdir())


def drop_by_drop(request):
    """Not even the head of the answer comes to an end."""
    try:
        for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
            request.wfile.write(bytes([letter]))
            request.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass


@pytest.mark.slow
def test_slow_data(two, refuses):
    timestamp, delta = two / "public" / "metadata" / "timestamp.json", targets_file(two, ".from-")
    for path, way in (
        ("/metadata/timestamp.json", slow(timestamp.read_bytes(), 1, 0.05)),
        ("/metadata/timestamp.json", stalling(timestamp.read_bytes(), 10)),
        ("/metadata/timestamp.json", drop_by_drop),
        (f"/targets/{delta.name}", slow(delta.read_bytes(), 10, 0.05)),
    ):
        since = time.monotonic()
        refuses("is too slow", {path: way}, limits=IMPATIENT)
        assert time.monotonic() - since < 4
    assert update(str(two / "public"), two / "device", limits=FetchLimits(min_rate=1, window=0.2)).changed


def test_another_file_than_the_one_that_is_signed(two, refuses, versions):
    model = targets_file(two, hashlib.sha256(versions.second.read_bytes()).hexdigest())
    targets_file(two, ".from-").unlink()
    wrong = bytearray(model.read_bytes())
    wrong[-1] ^= 1
    refuses("sent another file than the one that was signed", {f"/targets/{model.name}": whole(bytes(wrong))})
    refuses("sent another file than the one that was signed", {f"/targets/{model.name}": whole(bytes(wrong[:-1]) + b"?")})
    refuses("cannot be fetched from .*416", {f"/targets/{model.name}": whole(b"")})

    def boasting(request):
        request.send_response(200)
        request.send_header("Content-Length", str(2**60))
        request.end_headers()
        request.wfile.write(b"x" * 10**6)

    refuses("sent more than it may", {f"/targets/{model.name}": boasting})


def test_another_delta_than_the_one_that_is_signed(two, versions, capfd):
    """Costs only its bytes: the whole file is as well signed."""
    delta = targets_file(two, ".from-")
    with web(two / "public") as (address, _, ways):
        ways[f"/targets/{delta.name}"] = whole(b"?" * delta.stat().st_size)
        result = update(address, two / "device")
    assert result.version == 2 and not result.by_delta and result.fetched > delta.stat().st_size + result.bytes
    assert "fetching the whole file" in capfd.readouterr().err


def test_extra_targets_and_escaping_names(two, versions):
    """Whatever else is signed is never fetched, and no name from outside becomes a path here."""
    names = ("../../evil", "/etc/evil", "stable.sqz/../../evil", "C:\\evil", "stable.from-..", "a\0b")
    newest(two).publish({}, instead_of="nothing")
    repository = newest(two)
    for name in names:
        repository.targets.signed.targets[name] = TargetFile.from_data(name, b"evil", ["sha256"])
    repository._commit("targets")
    before = {path for path in two.rglob("*") if "device" not in path.parts}
    with web(two / "public") as (address, requests, _):
        assert update(address, two / "device").version == 2
    assert not [path for path, _ in requests if "evil" in path]
    assert before == {path for path in two.rglob("*") if "device" not in path.parts}
    assert inside(two / "device") == DEVICE


def inside(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_delegations_are_not_followed(two):
    """Neither under the name of what the device trusts, nor endlessly."""
    repository = newest(two)
    key = CryptoSigner.generate_ed25519()
    roles = {name: DelegatedRole(name, [key.public_key.keyid], 1, False, paths=["*"]) for name in ("trusted", "more")}
    repository.targets.signed.delegations = Delegations({key.public_key.keyid: key.public_key}, roles)
    for name in roles:
        repository.snapshot.signed.meta[f"{name}.json"] = MetaFile(1)
        delegated = Metadata(Targets())
        delegated.sign(key)
        (two / "public" / "metadata" / f"1.{name}.json").write_bytes(compact(delegated))
    repository._commit("targets")
    (two / "device" / "model.sqz").write_bytes(b"a file that no delta leads from")
    with web(two / "public") as (address, requests, _):
        assert update(address, two / "device").version == 2
    assert not [path for path, _ in requests if path[len("/metadata/") :].startswith(("1.trusted", "1.more"))]
    assert inside(two / "device") == DEVICE


def hashes_that_escape(two):
    repository = newest(two)
    about = repository.targets.signed.targets["stable.sqz"]
    for name, target in repository.targets.signed.targets.items():
        target.hashes["sha256"] = f"../../{'e' * 40}/{name}"
    repository._commit("targets")
    return about


def test_digests_that_escape(two, refuses):
    hashes_that_escape(two)
    refuses("cannot be fetched from|sent another file|no repository")


def resign(two, name, data, custom=None):
    """As somebody would who has the publisher's keys."""
    newest(two).publish({name: (data, custom or {})}, instead_of="nothing")


def test_a_delta_that_leads_elsewhere(two, versions, capfd):
    """It is signed, whole and well-formed, but its result is not the file that was meant: the whole file is fetched."""
    from squeezekit.modelfile.delta import delta_between

    first = versions.first.read_bytes()
    resign(two, delta_name("stable", first), delta_between(first, changed(first, 0.02, seed=7)))
    result = update(str(two / "public"), two / "device")
    assert result.version == 2 and not result.by_delta
    assert "the delta does not lead to version 2" in capfd.readouterr().err
    assert (two / "device" / "model.sqz").read_bytes() == versions.second.read_bytes()


def test_a_delta_bomb(two, versions, capfd):
    """A few bytes that ask for a lot of work, or memory, or numbers."""
    first = versions.first.read_bytes()
    start = b"SQD\x1a\1" + hashlib.sha256(first).digest()[:8]
    for rest in (b"\xff\xff\xff\xff\xff\x1f" + b"\0" * 50, b"\x20" + b"\xff" * 2000):
        bomb = start + rest
        resign(two, delta_name("stable", first), bomb)
        (two / "device" / "model.sqz").write_bytes(first)
        since = time.monotonic()
        result = update(str(two / "public"), two / "device")
        assert result.version == 2 and not result.by_delta and time.monotonic() - since < 30
        assert "fetching the whole file" in capfd.readouterr().err


def test_a_delta_larger_than_the_file_is_not_fetched(two, versions):
    first = versions.first.read_bytes()
    resign(two, delta_name("stable", first), b"x" * 100_000)
    with web(two / "public") as (address, requests, _):
        assert not update(address, two / "device").by_delta
    assert not [path for path, _ in requests if ".from-" in path]


def test_a_revoked_key(two, refuses, versions):
    """Metadata signed with a key that a newer root no longer names."""
    old = (two / "public" / "metadata" / "timestamp.json").read_bytes()
    thief = KeyRing([two / "keys"], [PASSPHRASE]).signers(newest(two).root.signed, "timestamp")[0]
    newest(two).rotate("timestamp")
    refuses("too few of the keys", {"/metadata/timestamp.json": whole(old)})
    forged = metadata(two, "timestamp.json")
    forged.signed.version += 100
    forged.signatures.clear()
    forged.sign(thief, append=True)
    refuses("too few of the keys", {"/metadata/timestamp.json": whole(compact(forged))})
    assert update(str(two / "public"), two / "device").version == 2


def test_a_root_that_the_root_before_has_not_signed(two, refuses):
    forged = metadata(two, "1.root.json")
    own = CryptoSigner.generate_ed25519()
    for identity in list(forged.signed.roles["root"].keyids):
        forged.signed.revoke_key(identity, "root")
    forged.signed.add_key(own.public_key, "root")
    forged.signed.version = 2
    forged.signatures.clear()
    forged.sign(own, append=True)
    refuses("too few of the keys", {"/metadata/2.root.json": whole(compact(forged))})


def test_a_fast_forward_is_recovered_from_by_new_keys(two, versions):
    """A thief of the snapshot and timestamp keys signs enormous versions; after a rotation devices take ordinary ones again."""
    repository = newest(two)
    for role in ("snapshot", "timestamp"):
        getattr(repository, role).signed.version = 10**9
    repository.timestamp.signed.snapshot_meta = MetaFile(10**9)
    repository._commit("snapshot")
    assert update(str(two / "public"), two / "device").version == 2
    for path in (two / "public" / "metadata").glob("1000000*"):
        path.unlink()
    repository.snapshot.signed.version = repository.timestamp.signed.version = 5
    repository._commit("snapshot")
    with pytest.raises(RunFailed, match="older than"):
        update(str(two / "public"), two / "device")
    newest(two).rotate("timestamp")
    newest(two).rotate("snapshot")
    published(versions.first, two)
    assert update(str(two / "public"), two / "device").version == 3


def test_a_redirect_to_a_file_is_not_followed(two, refuses):
    def elsewhere(request):
        request.send_response(302)
        request.send_header("Location", "file:///etc/hostname")
        request.end_headers()

    refuses("cannot be fetched from", {"/metadata/timestamp.json": elsewhere})


def test_nothing_unverified_is_parsed(two, versions, monkeypatch):
    """Neither as a delta nor as a model: what parses them is given signed bytes only."""
    import squeezekit.updates.update as module

    parsed = []
    real = module.apply_delta
    monkeypatch.setattr(module, "apply_delta", lambda old, delta: parsed.append(delta) or real(old, delta))
    delta, model = targets_file(two, ".from-"), targets_file(two, hashlib.sha256(versions.second.read_bytes()).hexdigest())
    with web(two / "public") as (address, _, ways):
        for path in (delta, model):
            ways[f"/targets/{path.name}"] = whole(b"?" * path.stat().st_size)
        with pytest.raises(RunFailed, match="sent another file"):
            update(address, two / "device")
    assert not parsed and DeviceFolder(two / "device").state.trying == ""
    assert update(str(two / "public"), two / "device").by_delta and parsed == [delta.read_bytes()]
