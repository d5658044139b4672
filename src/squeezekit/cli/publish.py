"""`squeezekit publish`."""

from __future__ import annotations

import argparse
import json as jsonlib
from typing import Any

from squeezekit.cli.signing import add_signing_arguments, days, needs_tuf, passphrases


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `publish`."""
    parser.epilog = """examples:
  squeezekit keys create public --keys keys
  squeezekit publish photos.sqz --to public --keys keys
  squeezekit publish photos.sqz --to public --keys keys --channel beta --deltas 8

then any web server may serve the folder; docs/updates.md says who should hold which key."""
    parser.add_argument("model", metavar="MODEL", help="a .sqz file, or a name in squeezekit models")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="the repository, made by squeezekit keys create")
    parser.add_argument("--channel", metavar="NAME", help="whose newest version it becomes (stable)")
    parser.add_argument("--deltas", type=int, metavar="N", help="from how many earlier versions to make deltas (4)")
    parser.add_argument(
        "--without-check",
        dest="check",
        action="store_false",
        help="publish a model even if it fails its self-check, to rehearse what devices do then",
    )
    add_signing_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(
    *,
    model: str,
    to: str,
    keys: list[str],
    passphrase_file: list[str] | None = None,
    expires: list[str] | None = None,
    json: bool = False,
    **options: Any,
) -> int:
    """Publish; say what it costs devices."""
    needs_tuf("publish")
    from squeezekit.updates.publish import publish

    result = publish(model, to, keys=keys, passphrases=passphrases(passphrase_file), days=days(expires), **options)
    if json:
        print(jsonlib.dumps(vars(result)))
        return 0
    print(f"{result.channel} {result.version}: {result.bytes:,} bytes, and {result.metadata_bytes:,} of signed metadata")
    for version, size in result.deltas.items():
        print(f"  from {version}: {size:,} bytes ({size / result.bytes:.1%})")
    return 0
