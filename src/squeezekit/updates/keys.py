"""Private keys of a repository, encrypted on disk: one file a key, `ROLE-ID.pem`, in folders that may lie apart.

Keys are Ed25519, files PKCS#8 in PEM, which the package `cryptography` and OpenSSL read.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from securesystemslib.exceptions import Error as SigningError
from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.metadata import Root

from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes
from squeezekit.updates.pkcs8 import encrypted_pem

FIRST_ROOT = "root.json"
SHORT_ID = 8  # Hexadecimal digits of a key's ID in file names and messages.
MOST_BYTES = 1 << 16  # Of a key, and of a root.
# No link is followed, and no file replaced; Windows has no such flag and hardly any links.
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class KeyRing:
    """The keys in some folders, each encrypted with one of the passphrases.

    New keys go to the first folder, under the first passphrase; `root.json` there is the first root of the repository, so that
    nobody can put another in its place where it is published. `locked` gathers the files that no passphrase opened. Raises
    SqueezekitError for a passphrase that is none, and for a folder that others can change.
    """

    def __init__(self, folders: Sequence[Path], passphrases: Sequence[str]) -> None:
        if not passphrases or not all(passphrases):
            raise SqueezekitError("the passphrase is empty; give one, and keep it: keys cannot be read without it")
        self.folders, self._passphrases = folders, [_encoded(each) for each in passphrases]
        for folder in folders:
            _check_ones_own(folder)
        self.locked: list[Path] = []
        self._opened: dict[Path, Signer] = {}

    def make(self, role: str) -> Key:
        """A new key for a role, written and encrypted; returns its public half."""
        private = Ed25519PrivateKey.generate()
        public = CryptoSigner(private).public_key
        content = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self.folders[0].mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folders[0] / _file_name(role, public.keyid)
        aside = path.with_name(f".{path.name}.partial")
        _write_new(aside, encrypted_pem(content, self._passphrases[0]))
        atomic_io.move(aside, path)
        return public

    def check_unused(self) -> None:
        """Raises SqueezekitError where the first folder has the root of a repository."""
        if os.path.lexists(path := self.folders[0] / FIRST_ROOT):
            raise SqueezekitError(f"{path}: is the root of another repository; give another folder with --keys")

    def keep_root(self, content: bytes) -> None:
        """Keep the first root of a new repository beside the keys; raises SqueezekitError where there is one."""
        try:
            _write_new(self.folders[0] / FIRST_ROOT, content)
        except FileExistsError:
            self.check_unused()
            raise

    def first_root(self) -> bytes:
        """The root that `keep_root` wrote; raises SqueezekitError where no folder has it."""
        for folder in self.folders:
            if (folder / FIRST_ROOT).is_file():
                return read_outside_bytes(folder / FIRST_ROOT, MOST_BYTES)
        places = ", ".join(str(folder) for folder in self.folders)
        raise SqueezekitError(f"{places}: lacks {FIRST_ROOT}, the first root; put there the one that your devices were given")

    def signers(self, root: Root, role: str) -> list[Signer]:
        """For each key of a role, by what `root` says, that is in the folders and can be read."""
        paths = {identity: self._found(role, identity) for identity in root.roles[role].keyids}
        found = [self._signer(path, root.keys[identity]) for identity, path in paths.items() if path is not None]
        return [signer for signer in found if signer is not None]

    def _found(self, role: str, identity: str) -> Path | None:
        there = (folder / _file_name(role, identity) for folder in self.folders)
        return next((path for path in there if path.is_file()), None)

    def _signer(self, path: Path, public: Key) -> Signer | None:
        # Opening one takes a second, on purpose.
        if path not in self._opened and path not in self.locked:
            if signer := self._open(path, public):
                self._opened[path] = signer
            else:
                self.locked.append(path)
        return self._opened.get(path)

    def _open(self, path: Path, public: Key) -> Signer | None:
        content = read_outside_bytes(path, MOST_BYTES)
        for passphrase in self._passphrases:
            try:
                private = load_pem_private_key(content, passphrase)
                return CryptoSigner(private, public)  # type: ignore[arg-type]
            except (ValueError, TypeError, SigningError):
                continue
        return None


def _file_name(role: str, identity: str) -> str:
    return f"{role}-{identity[:SHORT_ID]}.pem"


def _encoded(passphrase: str) -> bytes:
    try:
        return passphrase.encode()
    except UnicodeEncodeError:
        # Bytes of the environment or of the terminal that are not in its encoding.
        raise SqueezekitError("the passphrase is not in UTF-8; write it into a file in UTF-8, for --passphrase-file") from None


def _check_ones_own(folder: Path) -> None:
    if not folder.exists() or os.name != "posix":
        return
    found = folder.stat()
    if found.st_mode & stat.S_IWOTH:
        mode = stat.S_IMODE(found.st_mode)
        repair = f"chmod 700 {shlex.quote(str(folder))}"
        raise SqueezekitError(f"{folder}: everybody may write there (mode {mode:04o}); keep keys to yourself with {repair}")
    if found.st_uid not in (os.geteuid(), 0):
        raise SqueezekitError(f"{folder}: belongs to another user; keep keys in a folder of your own")


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; raises FileExistsError where the name is taken, be it by a link."""
    with os.fdopen(os.open(path, NEW_FILE, 0o600), "wb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            # A full disk leaves no half of a key, and no root that the next start would take for another repository's.
            path.unlink()
            raise
