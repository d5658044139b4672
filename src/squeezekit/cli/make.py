"""`squeezekit make`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeezekit.cli.amounts import amount
from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.standard_output import show, show_json

if TYPE_CHECKING:
    from squeezekit.workflows.make import Made


def add_arguments(parser: Parser) -> None:
    """The flags of `make`."""
    parser.explain(
        "make photos -o out",
        "make photos -o out --max-bytes 100k --minutes 30 --for arduino",
        usage="DATA -o OUT [--max-bytes N] [--minutes M] [--for NAME]",
        notes="What is done is kept: the same command goes on where it was stopped.",
    )
    parser.add_argument("data", metavar="DATA", help="a folder with one folder of pictures for each class")
    parser.add_out("OUT", "folder to write")
    parser.add_argument("--max-bytes", type=amount, metavar="N", help="target: a .sqz file of at most N bytes (default 150k)")
    parser.add_argument("--minutes", type=float, metavar="M", help="time for all of it (default 20)")
    parser.add_argument(
        "--for",
        dest="platform",
        choices=["browser", "arduino", "pi", "server", "onnx"],
        help="browser: a page; arduino: C; pi: a folder for a Raspberry Pi; server: the .sqz file alone; onnx: an .onnx file "
        "(default browser)",
    )
    parser.add_argument("--labels", metavar="FILE", help="CSV or JSON-lines file with the labels, as for train")
    parser.add_argument("--group-by", metavar="NAME", help="what belongs together, as for train")
    parser.add_argument("--leave-out", metavar="FILE", help="list of pictures to leave out")
    parser.add_argument("--teacher", metavar="NAME", help="efficientnet-lite0, or another whose answers are learnt, as for train")
    parser.add_argument(
        "--unlabelled", metavar="DIR", help="photos without labels, of which the teacher's answers are learnt too"
    )
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, data: str, out: str, json: bool = False, **options: Any) -> int:
    """Make, print what was made; 1 when the target is not met."""
    import squeezekit as sk

    made = sk.make(data, out, **options)
    if json:
        show_json(made.as_json())
    else:
        _show(made)
    if made.missed:
        say(made.missed)
    say(f"open {out}/report.html in a browser")
    return 1 if made.missed else 0


def _show(made: Made) -> None:
    found = made.accuracy
    show(f"{'accuracy':<16} {found.share:.1%} of {found.images:,} test photos (95% interval {found.low:.1%} to {found.high:.1%})")
    for file in made.files:
        size = "" if file.bytes is None else f"{file.bytes:,} bytes: "
        show(f"{file.name:<16} {size}{file.what}")
    show(f"{'seconds':<16} {', '.join(f'{name} {seconds:.0f}' for name, seconds in made.seconds.items())}")
