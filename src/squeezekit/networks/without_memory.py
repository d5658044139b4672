"""Networks that have the shapes of their weights and nothing else: a small file or a search can name a huge one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# What initialization does to weights, beside `torch.nn.init`. On the meta device torch would import its compiler for it, which
# takes longer than importing torch.
_INITIALIZATION = {Tensor.normal_, Tensor.uniform_, Tensor.mean, Tensor.std}
_INITIALIZATION |= {Tensor.__isub__, Tensor.__imul__, Tensor.sub_, Tensor.mul_, Tensor.add_, Tensor.div_}


class _Uninitialized(TorchFunctionMode):
    """Leaves weights as they were allocated."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        given = options or {}
        if function in _INITIALIZATION or getattr(function, "__module__", "") == "torch.nn.init":
            return given["tensor"] if "tensor" in given else arguments[0]
        return function(*arguments, **given)


@contextmanager
def without_memory() -> Iterator[None]:
    """Modules made inside are on the meta device and take no memory; their weights hold no numbers."""
    with torch.device("meta"), _Uninitialized():
        yield
