"""`squeezekit update`."""

from __future__ import annotations

import argparse
import json as jsonlib
import signal
from typing import Any

from squeezekit.cli.signing import needs_tuf
from squeezekit.system.errors import SqueezekitError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `update`."""
    parser.epilog = """examples:
  squeezekit update --repo https://models.example.org --trust root.json -o models
  squeezekit update --repo https://models.example.org -o models
  squeezekit predict models/model.sqz cat.jpg
  squeezekit update --back -o models

models/model.sqz is the model to use; it is replaced in one step, and only by one that is signed and passes its self-check."""
    parser.add_argument("--repo", metavar="URL", help="an http or https address, or a folder")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER", help="where the model is installed")
    parser.add_argument("--trust", metavar="root.json", help="whom to trust; needed the first time")
    parser.add_argument("--channel", metavar="NAME", help="(stable)")
    parser.add_argument("--max-bytes", type=int, metavar="N", help="no larger model is taken (16 MiB)")
    parser.add_argument("--retry-refused", action="store_true", help="try versions again that this device has refused")
    parser.add_argument("--slowest", type=float, metavar="N", help="bytes/s, on average over 30 s, below which to give up (100)")
    parser.add_argument("--back", action="store_true", help="use the version before again, and never the one in use")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(
    *, out: str, repo: str | None = None, back: bool = False, slowest: float | None = None, json: bool = False, **options: Any
) -> int:
    """Update, or go back."""
    needs_tuf("update")
    from squeezekit.updates.fetcher import FetchLimits
    from squeezekit.updates.update import go_back, update

    if back == (repo is not None):
        raise SqueezekitError("update needs --repo, the address of a repository, or --back; see squeezekit update --help")
    if back:
        go_back(out)
        print(jsonlib.dumps({"back": True}) if json else f"{out}: the version before is in use again")
        return 0
    assert repo is not None
    # So that a service that ends can stop it in good order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = update(repo, out, limits=FetchLimits() if slowest is None else FetchLimits(min_rate=slowest), **options)
    if json:
        print(jsonlib.dumps(vars(result)))
    elif not result.changed:
        print(f"{result.channel} {result.version} is the newest; {result.fetched:,} bytes fetched")
    else:
        how = f"a delta to version {result.before or 'in use'}" if result.by_delta else "the whole file"
        print(
            f"{result.channel} {result.version} installed, by {how}: {result.fetched:,} bytes fetched, metadata included; "
            f"the file has {result.bytes:,}"
        )
    return 0
