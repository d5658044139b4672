"""Weight sharing: the weights of a layer take their values from a small trained codebook.

Han et al., 2016, “Deep Compression”, arXiv 1510.00149, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from squeezekit.quantization.wrapped_optimizer import WrappedOptimizer

KMEANS_ROUNDS = 30


class Codebook:
    """A `weight` whose elements share `entries` [k]; `indices`, in its shape, say which, -1 for pruned ones."""

    def __init__(self, weight: Tensor, indices: Tensor, entries: Tensor) -> None:
        self.weight, self.indices, self.entries = weight, indices, entries.requires_grad_()
        self.share()

    @classmethod
    def of(cls, weight: Tensor, size: int) -> Codebook:
        """k-means of the nonzero weights, from evenly spaced entries (section 3.2); `size` entries, one of them zero."""
        values = weight.detach().flatten()
        nonzero = values[values != 0]
        entries = torch.linspace(float(nonzero.min()), float(nonzero.max()), size - 1) if len(nonzero) else torch.zeros(1)
        for _ in range(KMEANS_ROUNDS):
            nearest = _nearest(nonzero, entries)
            counts = torch.bincount(nearest, minlength=len(entries))
            sums = torch.zeros(len(entries)).index_add_(0, nearest, nonzero)
            entries = torch.where(counts > 0, sums / counts.clamp(min=1), entries).sort().values
        indices = torch.where(values != 0, _nearest(values, entries), -1)
        return cls(weight, indices.view(weight.shape), entries)

    @torch.no_grad()
    def share(self) -> None:
        """Write the entries into the weight."""
        self.weight.copy_(torch.where(self.indices >= 0, self.entries[self.indices.clamp(min=0)], 0))

    @torch.no_grad()
    def sum_gradients(self) -> None:
        """Give each entry the sum of the gradients of its weights (section 3.3)."""
        assert self.weight.grad is not None
        used = self.indices >= 0
        self.entries.grad = torch.zeros_like(self.entries).index_add_(0, self.indices[used], self.weight.grad[used])


def _nearest(values: Tensor, entries: Tensor) -> Tensor:
    """The index of the nearest entry for each value; entries are sorted."""
    return torch.bucketize(values, (entries[1:] + entries[:-1]) / 2)


class CodebookOptimizer(WrappedOptimizer):
    """An optimizer of codebook entries (parameters of the inner one) and of every parameter without a codebook."""

    def __init__(self, inner: torch.optim.Optimizer, codebooks: Sequence[Codebook]) -> None:
        super().__init__(inner)
        self.codebooks = codebooks

    def zero_grad(self) -> None:
        """Clear the gradients."""
        super().zero_grad()
        for codebook in self.codebooks:
            codebook.weight.grad = None

    def step(self) -> None:
        """Update the entries, and with them the weights."""
        for codebook in self.codebooks:
            codebook.sum_gradients()
        self.inner.step()
        for codebook in self.codebooks:
            codebook.share()

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the network that `load_state_dict` needs."""
        codebooks = [(codebook.indices, codebook.entries.detach()) for codebook in self.codebooks]
        return {**super().state_dict(), "codebooks": codebooks}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        for codebook, (indices, entries) in zip(self.codebooks, state["codebooks"], strict=True):
            codebook.indices = indices
            codebook.entries.copy_(entries)
