"""`squeezekit lr-range`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from squeezekit.cli.parser import Parser
from squeezekit.cli.settings_flags import add_settings
from squeezekit.system.console import say
from squeezekit.system.paths import expanded
from squeezekit.system.standard_output import show, show_json

if TYPE_CHECKING:
    from squeezekit.search.lr_range import LrRange


def add_arguments(parser: Parser) -> None:
    """The flags of `lr-range`."""
    parser.explain(
        "lr-range --data digits",
        "lr-range --data digits --network nano --max-rate 10 -o rate.png",
        usage="--data DATA [-o FILE] [settings]",
    )
    add_settings(parser, leave={"test"})
    parser.add_argument("--min-rate", dest="from_rate", type=float, metavar="RATE", help="first learning rate (default 0.00001)")
    parser.add_argument("--max-rate", dest="to_rate", type=float, metavar="RATE", help="last learning rate (default 1)")
    parser.add_out("FILE", "plot of loss against learning rate, .png or .svg", required=False)
    parser.add_json("print rates and losses as JSON")
    parser.set_defaults(run=run)


def run(*, json: bool = False, out: str | None = None, **options: Any) -> int:
    """Raise the rate, print the suggestion."""
    from squeezekit.reporting.figures import draw_rates
    from squeezekit.search.lr_range import lr_range

    found = lr_range(options.pop("data", None), **options)
    if json:
        show_json(found.as_json())
    else:
        _show(found)
    if out:
        plot = draw_rates(found.rates, found.losses, found.suggested, expanded(out))
        say(f"loss against learning rate in {plot}")
    return 0


def _show(found: LrRange) -> None:
    show(f"lowest smoothed loss {min(found.losses):.4f} at rate {found.lowest:.2g}")
    muon = f" --muon-rate {found.muon_rate:g}" if found.muon_rate else ""
    show(f"suggested  --learning-rate {found.suggested:g}{muon}")
