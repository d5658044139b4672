"""Private keys under a passphrase, as other programs read them."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from squeezekit.updates import pkcs8
from squeezekit.updates.pkcs8 import encrypted_pem

KEY = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def opened(written, passphrase):
    return load_pem_private_key(written, passphrase.encode()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("rounds", [1, 127, 128, 255, 65_536])
def test_what_is_written_is_read_by_cryptography(monkeypatch, rounds):
    monkeypatch.setattr(pkcs8, "ROUNDS", rounds)
    written = encrypted_pem(KEY, "p\u00e4ss wort ".encode())
    assert opened(written, "p\u00e4ss wort ") == KEY and written != encrypted_pem(KEY, "p\u00e4ss wort ".encode())
    # One wrong passphrase in 256 ends in a padding that is right: then what is under it cannot be read.
    with pytest.raises(ValueError, match="password|deserialize"):
        opened(written, "p\u00e4ss wort")


def test_the_passphrase_is_stretched_by_600_000_rounds(monkeypatch):
    monkeypatch.undo()
    written = encrypted_pem(KEY, b"x")
    assert opened(written, "x") == KEY
    # An INTEGER of three bytes.
    body = base64.b64decode(b"".join(written.splitlines()[1:-1]))
    assert pkcs8.PBKDF2 in body and b"\x02\x03" + (600_000).to_bytes(3) in body
