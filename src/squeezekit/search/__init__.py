"""Which network and which recipe: spaces, and studies that look through them."""

from squeezekit.search.crossval import cross_validate
from squeezekit.search.lr_range import lr_range
from squeezekit.search.search import search

__all__ = ["cross_validate", "lr_range", "search"]
