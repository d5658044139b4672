"""Private keys of a repository, encrypted on disk: one file a key, `ROLE-ID.pem`, in folders that may lie apart.

Keys are Ed25519, files PKCS#8 in PEM, as the package `cryptography` makes and reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key
from securesystemslib.exceptions import Error as SigningError
from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.metadata import Root

from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError

FIRST_ROOT = "root.json"
SHORT_ID = 8  # Hexadecimal digits of a key's ID in file names and messages.


class KeyRing:
    """The keys in some folders, each encrypted with one of the passphrases.

    New keys go to the first folder, under the first passphrase; `root.json` there is the first root of the repository, so that
    nobody can put another in its place where it is published. `locked` gathers the files that no passphrase opened.
    """

    def __init__(self, folders: Sequence[Path], passphrases: Sequence[str]) -> None:
        if not passphrases or not all(passphrases):
            raise SqueezekitError("the passphrase is empty; give one, and keep it: keys cannot be read without it")
        self.folders, self._passphrases = folders, [each.encode() for each in passphrases]
        self.locked: list[Path] = []

    def make(self, role: str) -> Key:
        """A new key for a role, written and encrypted; returns its public half."""
        private = Ed25519PrivateKey.generate()
        public = CryptoSigner(private).public_key
        encrypted = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(self._passphrases[0]))
        self.folders[0].mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folders[0] / _file_name(role, public.keyid)
        atomic_io.write_bytes(path, encrypted)
        path.chmod(0o600)
        return public

    def keep_root(self, content: bytes) -> None:
        """Keep the first root of a new repository beside the keys."""
        atomic_io.write_bytes(self.folders[0] / FIRST_ROOT, content)

    def first_root(self) -> bytes:
        """The root that `keep_root` wrote; raises SqueezekitError where no folder has it."""
        for folder in self.folders:
            if (folder / FIRST_ROOT).is_file():
                return (folder / FIRST_ROOT).read_bytes()
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
        for passphrase in self._passphrases:
            try:
                private = load_pem_private_key(path.read_bytes(), passphrase)
                return CryptoSigner(private, public)  # type: ignore[arg-type]
            except (ValueError, TypeError, SigningError):
                continue
        if path not in self.locked:
            self.locked.append(path)
        return None


def _file_name(role: str, identity: str) -> str:
    return f"{role}-{identity[:SHORT_ID]}.pem"
