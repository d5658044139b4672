"""Which squeezekit this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """The version of the installed package, or `source` where the source tree is used without being installed."""
    try:
        return installed("squeezekit")
    except PackageNotFoundError:
        return "source"
