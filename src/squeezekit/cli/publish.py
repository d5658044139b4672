"""`squeezekit publish`."""

from __future__ import annotations

from typing import Any

from squeezekit.cli.inspect import sqz_file
from squeezekit.cli.parser import Parser
from squeezekit.cli.signing import add_signing_arguments, days, needs_tuf, passphrases
from squeezekit.system.standard_output import show, show_json


def add_arguments(parser: Parser) -> None:
    """The flags of `publish`."""
    parser.explain(
        "publish digits-nano --repo public --keys keys",
        "publish digits-nano --repo public --keys keys --channel beta",
        usage="MODEL --repo FOLDER --keys FOLDER [settings]",
        notes="The repository is made by squeezekit keys create. Any web server may serve it.",
    )
    parser.add_model("a .sqz file, or a pretrained model (squeezekit models lists them)")
    parser.add_argument("--repo", required=True, metavar="FOLDER", help="the update repository")
    parser.add_argument("--channel", metavar="NAME", help="channel to publish in (default stable)")
    parser.add_argument("--deltas", type=int, metavar="N", help="make deltas from the last N versions (default 4)")
    parser.add_argument(
        "--without-check",
        dest="check",
        action="store_false",
        help=parser.seldom("publish a model even if it fails its self-check, to rehearse how devices refuse it"),
    )
    add_signing_arguments(parser)
    parser.add_json()
    parser.set_defaults(run=run)


def run(
    *,
    model: str,
    repo: str,
    keys: list[str],
    passphrase_file: list[str] | None = None,
    expires: list[str] | None = None,
    json: bool = False,
    **options: Any,
) -> int:
    """Publish, print what devices will fetch."""
    needs_tuf("publish")
    from squeezekit.updates.publish import publish

    secrets, lifetimes = passphrases(passphrase_file), days(expires)
    result = publish(sqz_file(model), repo, keys=keys, passphrases=secrets, days=lifetimes, **options)
    if json:
        show_json(vars(result))
        return 0
    show(f"{result.channel} {result.version}: {result.bytes:,} bytes, and {result.metadata_bytes:,} bytes of signed metadata")
    for version, size in result.deltas.items():
        show(f"  delta from {version}: {size:,} bytes ({size / result.bytes:.1%})")
    return 0
