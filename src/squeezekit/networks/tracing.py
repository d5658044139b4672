"""The graph of what a network computes, found from its forward without computing anything."""

from __future__ import annotations

from torch import fx, nn

from squeezekit.system.errors import SqueezekitError

Weighted = nn.Conv2d | nn.Linear
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


class _Tracer(fx.Tracer):
    """Looks into modules that hold layers; all others, whatever their forward does, are one node each."""

    def __init__(self, whole: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self._whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, (Weighted, BatchNorm, *self._whole)):
            return True
        return not isinstance(m, nn.Sequential) and not any(isinstance(inside, Weighted | BatchNorm) for inside in m.modules())


def traced(network: nn.Module, whole: tuple[type[nn.Module], ...] = ()) -> fx.Graph:
    """The graph of `network`, in which each convolution, linear layer, normalization and module of a type in `whole` is one node.

    Raises SqueezekitError where its forward depends on the values of tensors, so that it has no one graph.
    """
    try:
        return _Tracer(whole).trace(network)
    # Whatever a forward does with a stand-in for a tensor.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SqueezekitError(
            f"{type(network).__name__}: its forward cannot be traced ({reason}); "
            "let it call the same layers for every image, without tests of what tensors hold"
        ) from error
