"""`squeezekit keys`."""

from __future__ import annotations

import argparse
import json as jsonlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from squeezekit.cli.signing import ROLES, add_signing_arguments, by_role, days, needs_tuf, passphrases
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError

SUMMARIES = {
    "create": "a new repository, and keys for it",
    "rotate": "replace the keys of a role, revoking the old ones",
    "renew": "sign again what expires soon; for a nightly job",
    "show": "who may sign what, and until when",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `keys`."""
    parser.epilog = """examples:
  squeezekit keys create public --keys keys
  squeezekit keys create public --keys offline --threshold root=2/3
  squeezekit keys show public
  squeezekit keys renew public --keys keys
  squeezekit keys rotate public targets --keys keys
  squeezekit keys rotate public root --only 3f9a61c2 --keys offline"""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in SUMMARIES.items():
        action = actions.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + ".", argument_default=argparse.SUPPRESS
        )
        action.add_argument("folder", metavar="FOLDER", help="the repository")
        if name == "rotate":
            action.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
            action.add_argument("--only", metavar="KEY", help="replace only the key whose identity begins so")
        if name in ("create", "rotate"):
            action.add_argument("--threshold", action="append", metavar="ROLE=N/M", help="N of M keys must sign (1/1)")
        if name == "show":
            action.add_argument("--json", action="store_true", help="print everything as JSON")
        else:
            add_signing_arguments(action)
    parser.set_defaults(run=run)


def run(*, action: str, folder: str, **options: Any) -> int:
    """Do one of the four."""
    needs_tuf("keys")
    if action == "show":
        return _show(Path(folder).expanduser(), **options)
    return _sign(action, Path(folder).expanduser(), **options)


def _sign(
    action: str,
    folder: Path,
    *,
    keys: list[str],
    passphrase_file: list[str] | None = None,
    expires: list[str] | None = None,
    threshold: list[str] | None = None,
    role: str = "",
    only: str | None = None,
) -> int:
    from squeezekit.updates.keys import KeyRing
    from squeezekit.updates.repository import Repository

    ring = KeyRing([Path(each).expanduser() for each in keys], passphrases(passphrase_file, twice=action == "create"))
    quorums = {role: _quorum(role, text) for role, text in by_role("--threshold", threshold).items()}
    if action == "create":
        Repository.create(folder, ring, quorums, days(expires))
        print(f"{folder}: a new repository; give {folder / 'metadata' / '1.root.json'} to your devices, for update --trust")
        print(f"{keys[0]}: its keys; keep those of root where no network reaches them")
        return 0
    with Repository(folder).locked():
        repository = Repository(folder, ring, days(expires))
        if action == "renew":
            signed, missing = repository.renew()
            print(f"signed again: {', '.join(signed)}")
            if missing:
                say(f"the keys of {', '.join(missing)} are not at hand, whose signatures expire soon: renew with their --keys")
            return 1 if missing else 0
        if set(quorums) - {role}:
            raise SqueezekitError(f"--threshold: only that of {role} changes here; name no other role")
        made = repository.rotate(role, only=only, quorum=quorums.get(role))
    print(f"{role}: new keys {', '.join(made)} in {keys[0]}; the old ones are revoked")
    return 0


def _quorum(role: str, text: str) -> Any:
    from squeezekit.updates.repository import Quorum

    needed, _, keys = text.partition("/")
    if not needed.isdecimal() or not keys.isdecimal():
        raise SqueezekitError(f"--threshold {role}={text}: give two numbers, like {role}=2/3")
    return Quorum(int(needed), int(keys))


def _show(folder: Path, *, json: bool = False) -> int:
    from squeezekit.updates.keys import SHORT_ID
    from squeezekit.updates.repository import Repository

    repository = Repository(folder)
    found = [
        {
            "role": role,
            "version": getattr(repository, role).signed.version,
            "expires": getattr(repository, role).signed.expires.isoformat(),
            "threshold": repository.root.signed.roles[role].threshold,
            "keys": [identity[:SHORT_ID] for identity in repository.root.signed.roles[role].keyids],
        }
        for role in ROLES
    ]
    if json:
        print(jsonlib.dumps(found))
        return 0
    for each in found:
        left = (datetime.fromisoformat(each["expires"]) - datetime.now(UTC)).days
        until = f"expires in {left} days" if left >= 0 else "HAS EXPIRED"
        signers = f"{each['threshold']} of {len(each['keys'])}: {', '.join(each['keys'])}"
        print(f"{each['role']:<10} version {each['version']:<4} {until:<20} {signers}")
    return 0
