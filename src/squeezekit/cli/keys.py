"""`squeezekit keys`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from squeezekit.cli.parser import Parser
from squeezekit.cli.signing import ROLES, add_signing_arguments, by_role, days, needs_tuf, passphrases
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.standard_output import show, show_json

# What each action does, and two examples of it.
ACTIONS = {
    "create": (
        "create an update repository, and its keys",
        ("--repo public --keys keys", "--repo guarded --keys offline --threshold root=2/3"),
    ),
    "show": ("show who may sign what, and until when", ("--repo public", "--repo public --json")),
    "renew": (
        "sign again what expires soon; for a nightly job",
        ("--repo public --keys keys", "--repo public --keys keys --expires timestamp=30"),
    ),
    "rotate": (
        "replace the keys of a role and revoke the old ones",
        ("targets --repo public --keys keys", "root --repo public --keys keys --threshold root=2/3"),
    ),
}


def add_arguments(parser: Parser) -> None:
    """The flags of `keys`."""
    parser.explain(
        "keys create --repo public --keys keys",
        "keys show --repo public",
        usage="ACTION --repo FOLDER [settings]",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, prog="squeezekit keys")
    for name, (summary, examples) in ACTIONS.items():
        description = f"{summary[0].upper()}{summary[1:]}."
        action = actions.add_parser(name, help=summary, description=description, everything=parser.everything)
        role, signing = "ROLE " if name == "rotate" else "", "" if name == "show" else " --keys FOLDER"
        usage = f"{role}--repo FOLDER{signing} [settings]"
        action.explain(*(f"keys {name} {example}" for example in examples), usage=usage)
        if name == "rotate":
            action.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
            action.add_argument("--only", metavar="KEY", help="replace only the key whose identity begins with KEY")
        action.add_argument("--repo", required=True, metavar="FOLDER", help="the update repository")
        if name in ("create", "rotate"):
            action.add_argument(
                "--threshold", action="append", metavar="ROLE=N/M", help="N of M keys must sign for a role (default 1/1)"
            )
        if name != "show":
            add_signing_arguments(action)
        action.add_json()
        action.add_help_and_debug()
    parser.set_defaults(run=run)


def run(*, action: str, repo: str, json: bool = False, **options: Any) -> int:
    """Do one of the four."""
    needs_tuf("keys")
    folder = expanded(repo)
    return _show(folder, json=json) if action == "show" else _sign(action, folder, json=json, **options)


def _sign(
    action: str,
    folder: Path,
    *,
    json: bool,
    keys: list[str],
    passphrase_file: list[str] | None = None,
    expires: list[str] | None = None,
    threshold: list[str] | None = None,
    role: str = "",
    only: str | None = None,
) -> int:
    from squeezekit.updates.keys import KeyRing
    from squeezekit.updates.repository import Repository

    ring = KeyRing([expanded(each) for each in keys], passphrases(passphrase_file, twice=action == "create"))
    quorums = {role: _quorum(role, text) for role, text in by_role("--threshold", threshold).items()}
    if action == "create":
        Repository.create(folder, ring, quorums, days(expires))
        return _print_created(folder, keys[0], json=json)
    with Repository(folder).locked():
        repository = Repository(folder, ring, days(expires))
        if action == "renew":
            return _print_renewed(*repository.renew(), json=json)
        if set(quorums) - {role}:
            raise SqueezekitError(f"--threshold: rotate changes only that of {role}; leave out the other roles")
        fresh = repository.rotate(role, only=only, quorum=quorums.get(role))
    if json:
        show_json({"role": role, "keys": fresh, "folder": keys[0]})
    else:
        show(f"{role}: new keys {', '.join(fresh)} in {keys[0]}; the old ones are revoked")
    return 0


def _print_created(folder: Path, keys: str, *, json: bool) -> int:
    root = folder / "metadata" / "1.root.json"
    if json:
        show_json({"repo": str(folder), "root": str(root), "keys": keys})
    else:
        show(f"{folder}: a new repository; give {root} to your devices, for update --trust")
        show(f"{keys}: its keys; keep those of root offline")
    return 0


def _print_renewed(signed: list[str], missing: list[str], *, json: bool) -> int:
    if json:
        show_json({"signed": signed, "missing": missing})
    else:
        show(f"signed again: {', '.join(signed) or 'nothing'}")
    if missing:
        say(f"the signatures of {', '.join(missing)} expire soon, and their keys are not in --keys; renew with those keys")
    return 1 if missing else 0


def _quorum(role: str, text: str) -> Any:
    from squeezekit.updates.repository import Quorum

    needed, _, keys = text.partition("/")
    if not needed.isdecimal() or not keys.isdecimal() or len(text) > 9:
        raise SqueezekitError(f"--threshold {role}={text}: give two numbers, like {role}=2/3")
    return Quorum(int(needed), int(keys))


def _show(folder: Path, *, json: bool) -> int:
    from squeezekit.updates import clock
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
        show_json(found)
        return 0
    for each in found:
        left = (datetime.fromisoformat(each["expires"]) - clock.now()).days
        until = f"expires in {left} days" if left >= 0 else "HAS EXPIRED"
        signers = f"{each['threshold']} of {len(each['keys'])}: {', '.join(each['keys'])}"
        show(f"{each['role']:<10} version {each['version']:<4} {until:<20} {signers}")
    return 0
