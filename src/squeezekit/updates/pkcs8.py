"""Private keys under a passphrase: PKCS#8 with PBES2 (RFC 8018), as `cryptography` and OpenSSL read it.

`cryptography` writes the same form, but stretches the passphrase by 2,048 rounds only.
"""

from __future__ import annotations

import base64
import hashlib
import os

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

# Of PBKDF2 with HMAC-SHA-256, as OWASP recommends: a fifth of a second for whoever knows the passphrase.
ROUNDS = 600_000
BLOCK = 16

# Tags and object identifiers of ASN.1.
INTEGER, OCTETS, SEQUENCE = 0x02, 0x04, 0x30
PBES2 = bytes.fromhex("06092a864886f70d01050d")
PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209") + b"\x05\x00"
AES_256_CBC = bytes.fromhex("060960864801650304012a")


def encrypted_pem(key: bytes, passphrase: bytes) -> bytes:
    """A private key in PKCS#8 (DER, up to 100 bytes), encrypted by AES-256-CBC, in PEM."""
    salt, start = os.urandom(BLOCK), os.urandom(BLOCK)
    secret = hashlib.pbkdf2_hmac("sha256", passphrase, salt, ROUNDS, dklen=32)
    padding = BLOCK - len(key) % BLOCK
    encryptor = Cipher(AES(secret), CBC(start)).encryptor()
    encrypted = encryptor.update(key + bytes([padding]) * padding) + encryptor.finalize()
    rounds = ROUNDS.to_bytes(ROUNDS.bit_length() // 8 + 1)
    stretched = _der(SEQUENCE, PBKDF2, _der(SEQUENCE, _der(OCTETS, salt), _der(INTEGER, rounds), _der(SEQUENCE, HMAC_SHA256)))
    cipher = _der(SEQUENCE, AES_256_CBC, _der(OCTETS, start))
    whole = _der(SEQUENCE, _der(SEQUENCE, PBES2, _der(SEQUENCE, stretched, cipher)), _der(OCTETS, encrypted))
    text = base64.b64encode(whole).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]).encode()


def _der(tag: int, *parts: bytes) -> bytes:
    """A value of up to 255 bytes."""
    content = b"".join(parts)
    length = bytes([len(content)]) if len(content) < 128 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content
