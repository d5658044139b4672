"""The graph of what a network computes, found from its forward without computing anything."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any

from torch import fx, nn

from squeezekit.system.errors import SqueezekitError

Weighted = nn.Conv2d | nn.Linear
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
# torch.fx puts its own functions in the place of those of every module while it traces.
_ONE_AT_A_TIME = Lock()


class _Tracer(fx.Tracer):
    """Looks into modules that hold layers; all others, whatever their forward does, are one node each."""

    def __init__(self, whole: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self._whole = whole
        self._thread = get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, (Weighted, BatchNorm, *self._whole)):
            return True
        return not isinstance(m, nn.Sequential) and not any(isinstance(inside, Weighted | BatchNorm) for inside in m.modules())

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A node; in another thread, whose networks only compute meanwhile, what the module does."""
        return super().call_module(m, forward, args, kwargs) if get_ident() == self._thread else forward(*args, **kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A stand-in for a parameter; in another thread the parameter."""
        return super().getattr(attr, attr_val, parameter_proxy_cache) if get_ident() == self._thread else attr_val


def traced(network: nn.Module, whole: tuple[type[nn.Module], ...] = ()) -> fx.Graph:
    """The graph of `network`, in which each convolution, linear layer, normalization and module of a type in `whole` is one node.

    Raises SqueezekitError where its forward depends on the values of tensors, so that it has no one graph.
    """
    try:
        with _ONE_AT_A_TIME:
            return _Tracer(whole).trace(network)
    # Whatever a forward does with a stand-in for a tensor.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SqueezekitError(
            f"{type(network).__name__}: its forward cannot be traced ({reason}); "
            "let it call the same layers for every image, without tests of what tensors hold"
        ) from error
