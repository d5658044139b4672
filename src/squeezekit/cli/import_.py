"""`squeezekit import`."""

from __future__ import annotations

from squeezekit.cli.parser import Parser
from squeezekit.system.standard_output import show, show_json


def add_arguments(parser: Parser) -> None:
    """The flags of `import`."""
    parser.explain(
        "import compressed_SqueezeNet.net -o squeezenet.sqz",
        "import compressed_SqueezeNet.net -o squeezenet.sqz --json",
        usage="FILE [-o FILE]",
        notes="Without -o the model is kept in the cache,\nand its name in squeezekit models needs no download.",
    )
    parser.add_argument("file", metavar="FILE", help="compressed_SqueezeNet.net, as the authors of SqueezeNet published it")
    parser.add_out("FILE", "the .sqz file to write", required=False)
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, file: str, out: str | None = None, json: bool = False) -> int:
    """Convert a network of others."""
    from squeezekit.pretrained.import_model import import_model

    made = import_model(file, out)
    if json:
        show_json(made.as_json())
        return 0
    show(f"{made.file}: {made.bytes:,} bytes, {made.network}, {made.classes:,} classes, images of {made.image_size} pixels")
    if made.name:
        show(f"known as {made.name} from now on")
    return 0
