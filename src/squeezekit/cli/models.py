"""`squeezekit models`."""

from __future__ import annotations

from squeezekit.cli.parser import Parser
from squeezekit.system.console import say
from squeezekit.system.standard_output import show, show_json, show_table


def add_arguments(parser: Parser) -> None:
    """The flags of `models`."""
    parser.explain(
        "models",
        "models 'photo*' --sort ram",
        usage="[PATTERN] [--sort COLUMN] [--json]",
        notes="Every command that takes a MODEL takes these names.\nOnly what the list says is downloaded.",
    )
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", default="*", help="only names like this, * for anything")
    parser.add_argument("--sort", metavar="COLUMN", default="", help="bytes, parameters, macs, ram or accuracy, the best first")
    parser.add_json()
    parser.set_defaults(run=run)


def run(*, pattern: str = "*", sort: str = "", json: bool = False) -> int:
    """List the pretrained models; 1 where none has such a name."""
    from squeezekit.pretrained.facts import list_models

    found = list_models(pattern, sort=sort)
    if json:
        show_json([each.as_json() for each in found])
        return 0 if found else 1
    if not found:
        say(f"{pattern}: no pretrained model has such a name; see squeezekit models")
        return 1
    numbers, rows = ("bytes", "parameters", "MACs", "RAM", "accuracy"), []
    for each in found:
        work = (f"{each.parameters / 1e6:.2f} M", f"{each.macs / 1e6:,.0f} M", f"{each.ram:,}")
        accuracy = "" if each.accuracy is None else f"{each.accuracy:.2%}"
        rows.append([each.name, f"{each.bytes:,}", *work, accuracy])
    show_table(["name", *numbers], rows, numbers=numbers)
    show("MACs: multiply-adds of one picture; RAM: bytes that its feature maps take as C; accuracy: on test images, in floats")
    for each in found:
        show(f"{each.name}: {each.good_for}")
    for data in dict.fromkeys(each.data for each in found):
        trained = [each for each in found if each.data == data]
        fetched = "; downloaded at first use" if trained[0].downloaded else ""
        show(f"{', '.join(each.name for each in trained)}: trained on {data}; licence {trained[0].licence}{fetched}")
    return 0
