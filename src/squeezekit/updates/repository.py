"""A repository of static files, signed by the rules of The Update Framework (theupdateframework.io, specification 1.0).

FOLDER/metadata/1.root.json …    who may sign what; devices get the first one with their software
FOLDER/metadata/7.targets.json   the files that there are, with lengths and digests
FOLDER/metadata/7.snapshot.json  which version of targets.json is the one
FOLDER/metadata/timestamp.json   which snapshot is the newest; written last, so that a kill before it changes nothing
FOLDER/targets/…                 the files, each with its digest before its name
FOLDER/channels/NAME.json        for those who publish: what a channel has had; devices never read it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, cast

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from squeezekit.system import atomic_io
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.file_lock import one_at_a_time
from squeezekit.system.outside_files import read_outside_bytes
from squeezekit.updates import clock
from squeezekit.updates.keys import SHORT_ID, KeyRing

ROLES = ("root", "targets", "snapshot", "timestamp")
# Days until a role's metadata must have been signed anew.
DAYS: Mapping[str, int] = {"root": 365, "targets": 180, "snapshot": 60, "timestamp": 14}
# That anybody could have asked for.
MOST_DAYS = 3650
# A year after which nobody renews without a look at the clock.
MOST_DAYS_LATE = 365
MOST_METADATA_BYTES = 1 << 24
LOCK = ".lock"


@dataclass(frozen=True)
class Quorum:
    """How many of a role's keys must sign; raises SqueezekitError unless 1 <= needed <= keys <= 16."""

    needed: int = 1
    keys: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= self.keys <= 16:
            raise SqueezekitError(
                f"{self.needed} of {self.keys} keys: give two numbers from 1 to 16, the first not above the second"
            )


class Repository:
    """A repository in a folder, verified when it is opened; changes are signed with the keys of `key_ring`."""

    def __init__(self, folder: Path, key_ring: KeyRing | None = None, days: Mapping[str, int] | None = None) -> None:
        self.folder, self._key_ring, self._days = folder, key_ring, {**DAYS, **(days or {})}
        self.root = self._newest_root()
        self.timestamp: Metadata[Timestamp] = self._verified("timestamp", "timestamp.json")
        snapshot = self.timestamp.signed.snapshot_meta.version
        self.snapshot: Metadata[Snapshot] = self._verified("snapshot", f"{snapshot}.snapshot.json")
        targets = self.snapshot.signed.meta["targets.json"].version
        self.targets: Metadata[Targets] = self._verified("targets", f"{targets}.targets.json")
        if key_ring is not None:
            self._check_clock()

    @classmethod
    def create(
        cls, folder: Path, key_ring: KeyRing, quorums: Mapping[str, Quorum] | None = None, days: Mapping[str, int] | None = None
    ) -> Repository:
        """A new repository without files, and new keys for it; raises SqueezekitError where one exists."""
        clock.time_to_sign()
        if not (folder / "metadata" / "1.root.json").exists():
            key_ring.check_unused()
        for part in ("metadata", "targets", "channels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        with one_at_a_time(folder / LOCK):
            if (folder / "metadata" / "1.root.json").exists():
                raise SqueezekitError(f"{folder}: is a repository already; give another folder, or rotate its keys")
            quorums, days = {**dict.fromkeys(ROLES, Quorum()), **(quorums or {})}, {**DAYS, **(days or {})}
            root = Metadata(Root(expires=_in_days(days["root"]), consistent_snapshot=True))
            for role, quorum in quorums.items():
                root.signed.roles[role].threshold = quorum.needed
                for _ in range(quorum.keys):
                    root.signed.add_key(key_ring.make(role), role)
            made = cls.__new__(cls)
            made.folder, made._key_ring, made._days, made.root = folder, key_ring, days, root
            made.targets, made.snapshot, made.timestamp = Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp())
            made._sign_root(root, root)
            made._commit("targets", bump=False)
            key_ring.keep_root(made._serialized(root))
            # Last: with this file the folder is a repository.
            made._write("1.root.json", root)
        return made

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock: only one process at a time changes a repository."""
        with one_at_a_time(self.folder / LOCK):
            yield

    def publish(self, files: Mapping[str, tuple[bytes, dict[str, Any]]], *, instead_of: str) -> None:
        """Add files by name, each with its custom metadata; files whose names begin with `instead_of` leave the metadata.

        The removed files stay on disk, for devices that have just read the older metadata.
        """
        kept = {name: about for name, about in self.targets.signed.targets.items() if not name.startswith(instead_of)}
        for name, (data, custom) in files.items():
            about = TargetFile.from_data(name, data, ["sha256"])
            about.unrecognized_fields = {"custom": custom} if custom else {}
            kept[name] = about
            atomic_io.write_bytes(self.path_of(about), data)
        self.targets.signed.targets = kept
        self._commit("targets")

    def renew(self) -> tuple[list[str], list[str]]:
        """Sign again all roles past half their time that the keys at hand can sign, and the timestamp in any case.

        Returns the roles that were signed, and those that are due but whose keys are missing.
        """
        due = [role for role in ROLES if self._due(getattr(self, role).signed, role)]
        done = [role for role in due if role == "root" and self._can_sign("root")]
        if done:
            new_root = self._next_root()
            self._sign_root(self.root, new_root)
            self._write(f"{new_root.signed.version}.root.json", new_root)
            self.root = new_root
        able = [role for role in ROLES[1:] if all(map(self._can_sign, ROLES[ROLES.index(role) :]))]
        first = next((role for role in able if role in due), "timestamp")
        self._commit(first)
        done += ROLES[ROLES.index(first) :]
        return done, [role for role in due if role not in done]

    def rotate(self, role: str, *, only: str | None = None, quorum: Quorum | None = None) -> list[str]:
        """Replace the keys of a role, or the one whose identity begins with `only`; returns the identities of the new ones.

        The old ones are revoked: no device that has seen the new root accepts them. `quorum` sets how many there are and sign.
        """
        assert self._key_ring is not None
        old, new_root, rules = self.root, self._next_root(), self.root.signed.roles[role]
        leaving = [identity for identity in rules.keyids if only is None or identity.startswith(only)]
        if not leaving or (only is not None and len(leaving) > 1):
            raise SqueezekitError(f"{role} has {'no' if not leaving else 'more than one'} key '{only}'; see squeezekit keys show")
        if only is not None and quorum:
            raise SqueezekitError("give --threshold only where all keys of a role are replaced")
        for identity in leaving:
            new_root.signed.revoke_key(identity, role)
        fresh = [self._key_ring.make(role) for _ in range(quorum.keys if quorum else len(leaving))]
        for key in fresh:
            new_root.signed.add_key(key, role)
        new_root.signed.roles[role].threshold = quorum.needed if quorum else rules.threshold
        self._sign_root(old, new_root)
        self.root = new_root
        name = f"{new_root.signed.version}.root.json"
        if role == "root":
            self._write(name, new_root)
        elif len(self._key_ring.signers(old.signed, role)) >= rules.threshold:
            # Signed by old and new keys: valid under both roots, whenever a kill comes.
            self._sign_from(role, old, new_root)
            self._write_from(role)
            self._write(name, new_root)
        else:
            self._sign_from(role, new_root)
            self._write(name, new_root)
            self._write_from(role)
        return [key.keyid[:SHORT_ID] for key in fresh]

    def path_of(self, about: TargetFile) -> Path:
        """The path of a target file."""
        return self.folder / "targets" / f"{about.hashes['sha256']}.{about.path}"

    def metadata_bytes(self) -> int:
        """Bytes of the metadata that a device fetches for a new version."""
        return sum(len(self._serialized(getattr(self, role))) for role in ROLES[1:])

    @staticmethod
    def _serialized(metadata: Metadata[Any]) -> bytes:
        return metadata.to_bytes(JSONSerializer(compact=True))

    def _due(self, signed: Any, role: str) -> bool:
        """Whether it is half expired, or was signed for longer than anybody can ask for, by a clock that was wrong."""
        left: timedelta = signed.expires - clock.now()
        return not timedelta(days=self._days[role]) / 2 <= left <= timedelta(days=MOST_DAYS)

    def _check_clock(self) -> None:
        """Say where this clock or that of the last signing must be wrong; raises SqueezekitError where this one certainly is."""
        time = clock.time_to_sign()
        left = {role: (getattr(self, role).signed.expires - time).days for role in ROLES}
        most = max(left, key=left.__getitem__)
        if left[most] > MOST_DAYS:
            wrong = f"{most} is signed for another {left[most]:,} days, until keys renew signs it again"
        elif left["timestamp"] < -MOST_DAYS_LATE:
            wrong = f"timestamp has expired {-left['timestamp']:,} days ago"
        else:
            return
        say(f"{self.folder}: {wrong}, by the clock of this machine ({clock.shown_time(time)}); see that it is right")

    def _next_root(self) -> Metadata[Root]:
        new_root = cast("Metadata[Root]", Metadata.from_bytes(self.root.to_bytes()))
        new_root.signed.version += 1
        new_root.signed.expires = _in_days(self._days["root"])
        return new_root

    def _can_sign(self, role: str) -> bool:
        assert self._key_ring is not None
        return len(self._key_ring.signers(self.root.signed, role)) >= self.root.signed.roles[role].threshold

    def _sign_root(self, old: Metadata[Root], root: Metadata[Root]) -> None:
        """Sign a root with enough keys of the root before it and of its own."""
        assert self._key_ring is not None
        both = (old.signed, root.signed)
        signers = {signer.public_key.keyid: signer for each in both for signer in self._key_ring.signers(each, "root")}
        root.signatures.clear()
        for signer in signers.values():
            root.sign(signer, append=True)
        for each in both:
            if missing := each.get_verification_result("root", root.signed_bytes, root.signatures).missing:
                self._missing("root", missing)

    def _commit(self, first: str, *, bump: bool = True) -> None:
        """Sign a role and those after it, then write them; with a missing key nothing is written."""
        self._sign_from(first, self.root, bump=bump)
        self._write_from(first)

    def _sign_from(self, first: str, *roots: Metadata[Root], bump: bool = True) -> None:
        """A new version of a role and those after it, signed by enough keys of each of the roots."""
        roles = ROLES[ROLES.index(first) :]
        for role in roles:
            metadata = getattr(self, role)
            metadata.signed.version += bump
            metadata.signed.expires = _in_days(self._days[role])
        self.snapshot.signed.meta["targets.json"] = MetaFile(self.targets.signed.version)
        self.timestamp.signed.snapshot_meta = MetaFile(self.snapshot.signed.version)
        for role in roles:
            self._sign(role, roots)

    def _write_from(self, first: str) -> None:
        for role in ROLES[ROLES.index(first) :]:
            metadata = getattr(self, role)
            self._write("timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json", metadata)

    def _sign(self, role: str, roots: Sequence[Metadata[Root]]) -> None:
        assert self._key_ring is not None
        metadata, signers = getattr(self, role), dict[str, Signer]()
        for root in roots:
            needed, found = root.signed.roles[role].threshold, self._key_ring.signers(root.signed, role)
            if len(found) < needed:
                self._missing(role, needed - len(found))
            signers |= {signer.public_key.keyid: signer for signer in found[:needed]}
        metadata.signatures.clear()
        for signer in signers.values():
            metadata.sign(signer, append=True)

    def _missing(self, role: str, count: int) -> NoReturn:
        assert self._key_ring is not None
        if self._key_ring.locked:
            locked = ", ".join(map(str, self._key_ring.locked))
            raise SqueezekitError(f"{locked}: damaged, or under another passphrase; give that with another --passphrase-file")
        places = ", ".join(str(folder) for folder in self._key_ring.folders)
        raise SqueezekitError(
            f"{count} more of the keys of {role} must sign, and {places} lacks them; give the folder that has them with --keys"
        )

    def _newest_root(self) -> Metadata[Root]:
        """The last of the chain of roots, each signed by the one before; the first is the one noted with the keys."""
        if not (self.folder / "metadata" / "1.root.json").is_file():
            raise SqueezekitError(f"{self.folder}: is no repository; make one with squeezekit keys create")
        root = self._read("1.root.json")
        if self._key_ring is not None and self._serialized(root) != self._key_ring.first_root():
            raise SqueezekitError(f"{self.folder / 'metadata' / '1.root.json'}: is not the one noted with the keys; restore it")
        while (self.folder / "metadata" / (name := f"{root.signed.version + 1}.root.json")).is_file():
            following = self._read(name)
            for each in (root, following):
                self._check_signed(each.signed, "root", following, name)
            root = following
        newest: Metadata[Root] = root
        return newest

    def _verified(self, role: str, name: str) -> Any:
        """Metadata with valid signatures only: whoever can write here need not hold any keys."""
        metadata = self._read(name)
        self._check_signed(self.root.signed, role, metadata, name)
        return metadata

    def _check_signed(self, root: Root, role: str, metadata: Metadata[Any], name: str) -> None:
        try:
            root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, ValueError) as error:
            raise SqueezekitError(f"{self.folder / 'metadata' / name}: {error}; somebody has changed it, restore it") from None

    def _read(self, name: str) -> Any:
        path = self.folder / "metadata" / name
        content = read_outside_bytes(path, MOST_METADATA_BYTES)
        try:
            return Metadata.from_bytes(content)
        except RepositoryError:
            raise SqueezekitError(f"{path}: cannot be read, it is damaged; restore it") from None

    def _write(self, name: str, metadata: Metadata[Any]) -> None:
        atomic_io.write_bytes(self.folder / "metadata" / name, self._serialized(metadata))


def _in_days(days: int) -> datetime:
    return (clock.time_to_sign() + timedelta(days=days)).replace(microsecond=0)
