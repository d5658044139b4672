"""`squeezekit serve`."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from squeezekit.cli.parser import MODEL, Parser
from squeezekit.cli.signing import needs_tuf
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded

LIMITS = {
    "max-body": ("bytes of a request's body (default 16 MiB)", int),
    "max-images": ("images of a request (default 64)", int),
    "max-pixels": ("pixels of an image (default 50 million)", int),
    "seconds": ("seconds that a request may take to arrive (default 10)", float),
    "max-waiting": ("images that wait; requests beyond are answered with 503 (default 512)", int),
    "max-batch": ("images classified at once (default 64)", int),
}
NOTES = """The model is loaded again when its file changes, and on SIGHUP. The interface
is documented at /docs. For a .sqz file, / is a page that classifies in the
browser. A request:

  curl --data-binary @examples/three.png http://127.0.0.1:8000/v1/classify"""


def add_arguments(parser: Parser) -> None:
    """The flags of `serve`."""
    parser.explain(
        "serve digits-nano",
        "serve device --repo public --trust keys/root.json",
        usage="MODEL [--host ADDRESS] [--port N] [settings]",
        notes=NOTES,
    )
    parser.add_model(f"{MODEL}; with --repo the folder of squeezekit update")
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="port to listen on; 0: any free one (default 8000)")
    parser.add_argument("--token-file", metavar="FILE", help="clients must send the token in this file (or SQUEEZEKIT_TOKEN)")
    parser.add_argument(
        "--no-token",
        dest="open_to_all",
        action="store_true",
        help="allow other machines without a token; the page at / then gives everyone the network",
    )
    group = parser.add_argument_group("updates")
    group.add_argument(
        "--repo", metavar="URL", help="install new versions from this update repository; MODEL is the folder of update --out"
    )
    group.add_argument("--trust", metavar="root.json", help="the root.json of the repository; needed the first time")
    group.add_argument("--channel", metavar="NAME", help="channel to follow (default stable)")
    group.add_argument("--every", type=float, metavar="SECONDS", help="how often to look for a new version (default 3600)")
    group = parser.add_argument_group("limits")
    for name, (text, kind) in LIMITS.items():
        group.add_argument(f"--{name}", type=kind, metavar="N", help=parser.seldom(text))
    parser.set_defaults(run=run)


def run(*, model: str, token_file: str | None = None, repo: str | None = None, **options: Any) -> int:
    """Serve until asked to end."""
    if missing := [name for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client") if find_spec(name) is None]:
        raise SqueezekitError(f"serve needs {', '.join(missing)}; pip install 'squeezekit[serve]'")
    updating = {name: options.pop(name) for name in ("trust", "channel", "every") if name in options}
    if updating and repo is None:
        raise SqueezekitError(f"--{next(iter(updating))} goes with --repo; give both or neither")
    if repo is not None:
        needs_tuf("serve --repo")
    from squeezekit.serving.auto_update import AutoUpdate
    from squeezekit.serving.service import serve

    if "trust" in updating:
        updating["trust"] = expanded(updating["trust"])
    served = model if repo is None else AutoUpdate(repo, expanded(model), **updating)
    serve(served, token=_token(token_file), **options)
    return 0


def _token(file: str | None) -> str | None:
    if file is None:
        return os.environ.get("SQUEEZEKIT_TOKEN") or None
    token = expanded(file).read_text(encoding="utf-8").strip()
    if not token:
        raise SqueezekitError(f"--token-file {file}: is empty; write the token into it")
    return token
