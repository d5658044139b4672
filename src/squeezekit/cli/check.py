"""`squeezekit check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.standard_output import show, show_json, show_table

if TYPE_CHECKING:
    from squeezekit.data.findings import Findings


def add_arguments(parser: Parser) -> None:
    """The flags of `check`."""
    parser.explain(
        "check photos -o check.html",
        "check photos --write-list doubtful.txt",
        usage="DATA [-o PAGE] [--write-list FILE] [settings]",
        notes="Nothing is deleted or moved. train --leave-out FILE takes the list.",
    )
    parser.add_argument("data", metavar="DATA", nargs="?", help="a folder with one folder of pictures for each class")
    parser.add_out("PAGE", "HTML page to write, with thumbnails", required=False)
    parser.add_argument("--write-list", metavar="FILE", help="write a list of what is better left out, for train --leave-out")
    parser.add_argument("--quick", action="store_true", help="copies, blank, blurred and broken pictures only")
    parser.add_argument("--model", metavar="MODEL", help="whose features tell classes apart (default photo-l)")
    parser.add_argument("--labels", metavar="FILE", help="CSV or JSON-lines file with the labels, as for train")
    parser.add_argument("--group-by", metavar="NAME", help="what belongs together, as for train")
    parser.add_argument("--leave-out", metavar="FILE", help="list of pictures to leave out")
    parser.add_argument("--max-pixels", type=int, metavar="N", help="pixels that a picture may have; larger ones cannot be read")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, json: bool = False, **options: Any) -> int:
    """Look, print what was found."""
    import squeezekit as sk

    found = sk.check(options.pop("data", None), **options)
    if json:
        show_json(found.as_json())
    else:
        _show(found)
    for name, advice in (("out", "open it in a browser"), ("write_list", "read it before train --leave-out takes it")):
        if name in options:
            say(f"{options[name]}: {advice}")
    return 0


def _show(found: Findings) -> None:
    parts = list(next(iter(found.classes.values())))
    rows = [[name, *(f"{count:,}" for count in counts.values())] for name, counts in found.classes.items()]
    heads = [part or "pictures" for part in parts]
    show_table(["class", *heads], rows, folds=["class"], numbers=heads)
    show(f"{'pictures':<16} {found.pictures:,}, shorter sides of {found.sides[0]} to {found.sides[2]} pixels")
    for near, name in ((False, "copies"), (True, "near-copies")):
        groups = found.copies_of(near=near)
        across = [(sum(group.across_classes for group in groups), "in several classes")]
        across.append((sum(group.across_parts for group in groups), "in several parts"))
        words = "".join(f", {count:,} {where}" for count, where in across if count)
        show(f"{name:<16} {len(groups):,} groups of {sum(len(group.pictures) for group in groups):,} pictures{words}")
    for name, paths in (("blank", found.blank), ("blurred", found.blurred), ("cannot be read", found.broken)):
        show(f"{name:<16} {len(paths):,}")
    if found.accuracy is not None:
        show(f"{'doubtful labels':<16} {len(found.doubtful):,}, by features that tell {found.accuracy:.1%} of the pictures apart")
    for shortcut in found.shortcuts:
        shares = f"{shortcut.accuracy:.1%} by that alone, {shortcut.accuracy_of_pictures:.1%} by what is shown"
        show(f"{'shortcut':<16} {shortcut.what}: {shares}, {shortcut.guess:.1%} by a guess")
    for note in found.notes:
        say(note)
