"""`squeezekit tensorboard`."""

from __future__ import annotations

import os
import sys

from squeezekit.cli.parser import Parser
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded


def add_arguments(parser: Parser) -> None:
    """The flags of `tensorboard`."""
    parser.explain(
        "tensorboard runs/digits",
        "tensorboard runs --port 7007",
        usage="RUN [--port N]",
    )
    parser.add_argument("folder", metavar="RUN", help="a run folder, or a folder of run folders")
    parser.add_argument("--port", type=int, metavar="N", help="port on this machine (default 6006)")
    parser.set_defaults(run=run)


def run(*, folder: str, port: int = 6006) -> int:
    """Become TensorBoard, on the loopback address only."""
    place = expanded(folder)
    if not place.is_dir():
        raise SqueezekitError(f"{folder}: not a folder; give a run folder, or a folder of them")
    # Without -P, a file tensorboard.py in the current folder would run instead.
    options = [f"--logdir={place.absolute()}", f"--port={port}", "--host=127.0.0.1"]
    command = [sys.executable, "-P", "-m", "tensorboard.main", *options]
    os.execv(sys.executable, command)
