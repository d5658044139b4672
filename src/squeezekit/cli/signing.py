"""Flags of every command that signs: keys, their passphrase, and when signatures expire."""

from __future__ import annotations

import getpass
import os
import sys
from importlib.util import find_spec

from squeezekit.cli.parser import Parser
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

VARIABLE = "SQUEEZEKIT_PASSPHRASE"
DAYS = "root=365 targets=180 snapshot=60 timestamp=14"
MOST_BYTES = 1 << 16  # Of a passphrase file.
ROLES = ("root", "targets", "snapshot", "timestamp")


def add_signing_arguments(parser: Parser) -> None:
    """Private keys, their passphrase, and the days that signatures are valid."""
    parser.add_argument(
        "--keys", action="append", required=True, metavar="FOLDER", help="folder of private keys; repeat for several folders"
    )
    parser.add_argument(
        "--passphrase-file",
        action="append",
        metavar="FILE",
        help=f"passphrase of the keys; repeat for keys with another one (or {VARIABLE}; otherwise it is asked for)",
    )
    parser.add_argument(
        "--expires", action="append", metavar="ROLE=DAYS", help=f"days that signatures are valid (default {DAYS})"
    )


def needs_tuf(command: str) -> None:
    """Raises SqueezekitError if the packages that sign and verify are missing."""
    if missing := [name for name in ("tuf", "securesystemslib", "cryptography") if find_spec(name) is None]:
        raise SqueezekitError(f"{command} needs {', '.join(missing)}; pip install 'squeezekit[updates]'")


def passphrases(files: list[str] | None, *, twice: bool = False) -> list[str]:
    """From files, the environment or the terminal, as they are but for the line end; those that 0.1 made of files come after."""
    if files is not None:
        found = [_read(file) for file in files]
        return list(dict.fromkeys([each for each, _ in found] + [old for _, old in found if old]))
    if VARIABLE in os.environ:
        return [os.environ[VARIABLE]]
    if sys.stdin is None or not sys.stdin.isatty():
        raise SqueezekitError(f"the keys need a passphrase; give --passphrase-file, or set {VARIABLE}")
    try:
        given = getpass.getpass("passphrase of the keys: ")
        if twice and getpass.getpass("the same again: ") != given:
            raise SqueezekitError("the two passphrases differ; run the command again")
    except EOFError:
        raise SqueezekitError("no passphrase was typed; run the command again") from None
    return [given]


def _read(file: str) -> tuple[str, str]:
    """The passphrase in a file or a pipe, and what 0.1 took for it: without spaces at the ends, with a byte order mark."""
    try:
        with expanded(file).open("rb") as source:
            content = source.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        # UnicodeDecodeError is a ValueError; so is what a path with a zero byte gives.
        reason = "is not text in UTF-8" if isinstance(error, UnicodeDecodeError) else f"cannot be read ({_reason(error)})"
        raise SqueezekitError(f"--passphrase-file {file}: {reason}; write the passphrase into it in UTF-8") from None
    if len(content) > MOST_BYTES:
        raise SqueezekitError(f"--passphrase-file {file}: is larger than {MOST_BYTES:,} bytes; give a file with a passphrase")
    return text.removeprefix("\ufeff").rstrip("\r\n"), text.strip()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def by_role(flag: str, pairs: list[str] | None) -> dict[str, str]:
    """`ROLE=VALUE` …, by role; raises SqueezekitError."""
    found = {}
    for pair in pairs or []:
        role, equals, value = pair.partition("=")
        if role not in ROLES or not equals:
            raise SqueezekitError(f"{flag} {pair}: give ROLE=…, with one of {', '.join(ROLES)}")
        found[role] = value
    return found


def days(pairs: list[str] | None) -> dict[str, int]:
    """`ROLE=DAYS` …, by role; raises SqueezekitError."""
    found = {}
    for role, text in by_role("--expires", pairs).items():
        if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= 3650:
            raise SqueezekitError(f"--expires {role}={text}: give 1 to 3650 days")
        found[role] = int(text)
    return found
