"""Which network and which recipe: spaces, studies, cross-validation, the learning-rate range."""

from squeezekit.system.callable_package import make_callable

make_callable(__name__, "squeezekit.search.search", "search")
