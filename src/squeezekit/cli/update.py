"""`squeezekit update`."""

from __future__ import annotations

import signal
from typing import Any

from squeezekit.cli.amounts import amount
from squeezekit.cli.parser import Parser
from squeezekit.cli.signing import needs_tuf
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.standard_output import show, show_json

NOTES = """FOLDER/model.sqz is the model to use. It is replaced in one step, and only by
a version that is signed and passes its self-check. To return to the version
before: squeezekit update --back -o FOLDER"""


def add_arguments(parser: Parser) -> None:
    """The flags of `update`."""
    parser.explain(
        "update --repo public --trust keys/root.json -o device",
        "update --repo public -o device --json",
        usage="--repo URL -o FOLDER [--trust root.json] [settings]",
        notes=NOTES,
    )
    parser.add_argument("--repo", metavar="URL", help="the update repository: an http or https address, or a folder")
    parser.add_out("FOLDER", "folder to install the model in")
    parser.add_argument("--trust", metavar="root.json", help="the root.json of the repository; needed the first time")
    parser.add_argument("--channel", metavar="NAME", help="channel to follow (default stable)")
    parser.add_argument("--back", action="store_true", help="return to the version before, and never install this one again")
    parser.add_argument("--max-bytes", type=amount, metavar="N", help=parser.seldom("refuse a larger model (default 16 MiB)"))
    parser.add_argument(
        "--retry-refused", action="store_true", help=parser.seldom("try versions again that this device has refused")
    )
    slowest = "give up below N bytes/s, on average over 30 s (default 100)"
    parser.add_argument("--slowest", type=float, metavar="N", help=parser.seldom(slowest))
    parser.add_json()
    parser.set_defaults(run=run)


def run(
    *, out: str, repo: str | None = None, back: bool = False, slowest: float | None = None, json: bool = False, **options: Any
) -> int:
    """Update, or return to the version before."""
    needs_tuf("update")
    from squeezekit.updates.fetcher import FetchLimits
    from squeezekit.updates.update import go_back, update

    if back == (repo is not None):
        raise SqueezekitError("update needs --repo URL, or else --back; see squeezekit update --help")
    if back:
        go_back(out)
        if json:
            show_json({"back": True})
        else:
            show(f"{out}: the version before is installed again")
        return 0
    assert repo is not None
    # So that a service that ends can stop it in good order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    limits = FetchLimits() if slowest is None else FetchLimits(min_rate=slowest)
    result = update(repo, out, limits=limits, **options)
    if json:
        show_json(vars(result))
    elif not result.changed:
        show(f"{result.channel} {result.version} is the newest; {result.fetched:,} bytes fetched")
    else:
        how = f"a delta from version {result.before or 'in use'}" if result.by_delta else "the whole file"
        show(
            f"{result.channel} {result.version} installed, by {how}: {result.fetched:,} bytes fetched, metadata included; "
            f"the file has {result.bytes:,} bytes"
        )
    return 0
