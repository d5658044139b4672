"""`squeezekit serve`."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from squeezekit.cli.signing import needs_tuf
from squeezekit.system.errors import SqueezekitError

LIMITS = {
    "max-body": ("bytes of a request's body (default 16 MiB)", int),
    "max-images": ("images of a request (default 64)", int),
    "max-pixels": ("pixels of an image (default 50 million)", int),
    "seconds": ("seconds that a request may take to arrive (default 10)", float),
    "max-waiting": ("images that wait; more are answered with 503 (default 512)", int),
    "max-batch": ("images classified at once (default 64)", int),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `serve`."""
    parser.epilog = """examples:
  squeezekit serve photos.sqz
  curl --data-binary @cat.jpg http://127.0.0.1:8000/v1/classify
  curl -F images=@cat.jpg -F images=@dog.jpg http://127.0.0.1:8000/v1/classify
  squeezekit serve photos.sqz --host 0.0.0.0 --token-file token.txt
  squeezekit serve models/ --repo https://models.example.org --trust root.json

the model is loaded again when its file changes, and on SIGHUP; what it answers is described at /docs, and a .sqz
file has a page that classifies by itself at /."""
    parser.add_argument("model", metavar="MODEL", help="a run folder, a .sqz or an .onnx file, or a name in squeezekit models")
    parser.add_argument("--host", metavar="ADDRESS", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="default 8000; 0: any that is free")
    parser.add_argument("--token-file", metavar="FILE", help="clients must give what it holds (or SQUEEZEKIT_TOKEN)")
    parser.add_argument(
        "--no-token",
        dest="open_to_all",
        action="store_true",
        help="let others in without one, also to the page at /, which holds the network",
    )
    group = parser.add_argument_group("updates")
    group.add_argument("--repo", metavar="URL", help="fetch new versions from there; MODEL is the folder of update --out")
    group.add_argument("--trust", metavar="root.json", help="whom to trust; needed the first time")
    group.add_argument("--channel", metavar="NAME", help="(stable)")
    group.add_argument("--every", type=float, metavar="SECONDS", help="how often to look (3600)")
    group = parser.add_argument_group("limits")
    for name, (text, kind) in LIMITS.items():
        group.add_argument(f"--{name}", type=kind, metavar="N", help=text)
    parser.set_defaults(run=run)


def run(*, model: str, token_file: str | None = None, repo: str | None = None, **options: Any) -> int:
    """Serve until asked to end."""
    if missing := [name for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client") if find_spec(name) is None]:
        raise SqueezekitError(f"serve needs {', '.join(missing)}; pip install 'squeezekit[serve]'")
    about = {name: options.pop(name) for name in ("trust", "channel", "every") if name in options}
    if about and repo is None:
        raise SqueezekitError(f"--{next(iter(about))} goes with --repo; give both or neither")
    if repo is not None:
        needs_tuf("serve --repo")
    from squeezekit.serving.auto_update import AutoUpdate
    from squeezekit.serving.service import serve

    if "trust" in about:
        about["trust"] = Path(about["trust"]).expanduser()
    served = model if repo is None else AutoUpdate(repo, Path(model).expanduser(), **about)
    serve(served, token=_token(token_file), **options)
    return 0


def _token(file: str | None) -> str | None:
    if file is None:
        return os.environ.get("SQUEEZEKIT_TOKEN") or None
    token = Path(file).expanduser().read_text(encoding="utf-8").strip()
    if not token:
        raise SqueezekitError(f"--token-file {file}: is empty; write the token into it")
    return token
