"""Deep Compression as published (Han et al., 2016, arXiv 1510.00149), the peer of our own method.

Weights of small magnitude are pruned and the rest retrained, in rounds of falling density; then the weights of each layer share
the entries of a codebook, found by k-means from evenly spaced ones and trained on with the gradients of all weights that share
them; then Huffman codes. Batch normalization, which the paper's networks do not have, is folded into the weights before they
share a codebook.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.acceleration.folding import folded, layers
from squeezekit.codec.encodings import Array, Quantized
from squeezekit.codec.huffman import coded_bytes
from squeezekit.compression.candidate import Round, Trial
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.target import Target
from squeezekit.modelfile.sqz import Sqz
from squeezekit.quantization.wrapped_optimizer import WrappedOptimizer
from squeezekit.training.optimizers import optimizer_for

# Pressure is 1 ÷ density: half of the weights first, then fewer.
FIRST, GROWTH = 2.0, 1.4
# Bits of a gap between two weights that are kept; a longer one has a zero in between. The best for each layer.
GAP_BITS = (4, 5, 8)
CODEBOOK_BITS = (8, 6)
KMEANS_ROUNDS = 30
# DeltaModel of the run's own recipe, whose weight decay stays.
PRUNING: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "momentum": 0.9,
    "schedule": "one-cycle",
    "warmup": 0.05,
    "patience": 0,
    "label_smoothing": 0.0,
}
# A shared entry moves by the gradients of thousands of weights: four times the rate bursts at 6 bits.
SHARING: dict[str, Any] = {**PRUNING, "learning_rate": 0.0005}


class DeepCompression:
    """The method `deep-compression`: at each density codebooks of 2⁸ and 2⁶ entries, one of them zero."""

    most_roundings = 0

    def __init__(self, subject: CompressionContext, promise: Target, epochs: int) -> None:
        self.subject, self.promise, self.epochs = subject, promise, epochs

    def rounding(self, roundings: Sequence[Trial]) -> None:
        """Nothing is tried without training."""

    def following(self, roundings: Sequence[Trial], rounds: Sequence[Trial]) -> Round | None:
        """Pruning, and after each pruning the codebooks, the larger ones of which say whether that was too much."""
        turn = len(rounds) % (1 + len(CODEBOOK_BITS))
        pruned, shared = rounds[:: 1 + len(CODEBOOK_BITS)], rounds[1 :: 1 + len(CODEBOOK_BITS)]
        if turn:
            return self._sharing(pruned[-1], CODEBOOK_BITS[turn - 1])
        rung = self.promise.next_pressure([(trial.pressure, trial.stage) for trial in shared], FIRST, GROWTH)
        return None if rung is None else self._pruning(rung[0], pruned[rung[1]] if rung[1] >= 0 else None)

    def _pruning(self, pressure: float, earlier: Trial | None) -> Round:
        network = self.subject.network()
        if earlier:
            network.load_state_dict(earlier.state["network"])
        weights = [layer.module.weight for layer in layers(network)]
        recipe = self.subject.recipe(self.epochs, PRUNING)
        optimizer = MaskedOptimizer(optimizer_for(network, recipe), weights, [kept(w, 1 / pressure) for w in weights])
        before = earlier.file.stages if earlier else (self.subject.trained,)
        name = f"pruned to a density of {1 / pressure:.3f}"

        def finish() -> tuple[Sqz, dict[str, Any]]:
            arrays = {key: tensor.numpy() for key, tensor in folded(network.eval()).state_dict().items()}
            return self.subject.file(name, arrays, before), {"network": network.state_dict()}

        return Round(name, pressure, self.subject.trainer(network, optimizer, recipe), lambda: name, finish)

    def _sharing(self, pruned: Trial, bits: int) -> Round:
        network = self.subject.network()
        network.load_state_dict(pruned.state["network"])
        network = folded(network.eval())
        codebooks = [Codebook.of(layer.module.weight, 2**bits) for layer in layers(network)]
        own = {id(codebook.weight) for codebook in codebooks}
        rest = [parameter for parameter in network.parameters() if id(parameter) not in own]
        recipe = self.subject.recipe(max(self.epochs // 2, 1), SHARING)
        inner = torch.optim.SGD([*(c.entries for c in codebooks), *rest], recipe.learning_rate, recipe.momentum, nesterov=True)
        optimizer = CodebookOptimizer(inner, codebooks)
        name = f"codebooks of {bits} bits at a density of {1 / pruned.pressure:.3f}"

        def finish() -> tuple[Sqz, dict[str, Any]]:
            arrays = {key: tensor.numpy() for key, tensor in network.eval().state_dict().items()}
            return self.subject.file(name, arrays, pruned.file.stages), {}

        return Round(name, pruned.pressure, self.subject.trainer(network, optimizer, recipe), lambda: name, finish)


def kept(weight: Tensor, density: float) -> Tensor:
    """Which weights of a layer are kept: that share, the largest magnitudes (section 2)."""
    size = weight.detach().abs().flatten()
    return weight.detach().abs() >= size.kthvalue(len(size) - max(round(density * len(size)), 1) + 1).values


class MaskedOptimizer(WrappedOptimizer):
    """An optimiser under which pruned weights stay zero."""

    def __init__(self, inner: torch.optim.Optimizer, weights: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
        super().__init__(inner)
        self.weights, self.masks = weights, masks
        self._prune()

    def step(self) -> None:
        """Move the weights, and prune again."""
        self.inner.step()
        self._prune()

    @torch.no_grad()
    def _prune(self) -> None:
        for weight, mask in zip(self.weights, self.masks, strict=True):
            weight.mul_(mask)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, beside the network."""
        return {**super().state_dict(), "masks": list(self.masks)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` put away."""
        super().load_state_dict(state)
        self.masks = state["masks"]


class Codebook:
    """Weights that share `entries` [k]; `indices` say which, -1 for pruned ones."""

    def __init__(self, weight: Tensor, indices: Tensor, entries: Tensor) -> None:
        self.weight, self.indices, self.entries = weight, indices, entries.requires_grad_()
        self.share()

    @classmethod
    def of(cls, weight: Tensor, size: int) -> Codebook:
        """k-means of the weights that are not zero, from evenly spaced entries (section 3.2), `size` with the zero."""
        values = weight.detach().flatten()
        found = values[values != 0]
        entries = torch.linspace(float(found.min()), float(found.max()), size - 1) if len(found) else torch.zeros(1)
        for _ in range(KMEANS_ROUNDS):
            nearest = _nearest(found, entries)
            counts = torch.bincount(nearest, minlength=len(entries))
            sums = torch.zeros(len(entries)).index_add_(0, nearest, found)
            entries = torch.where(counts > 0, sums / counts.clamp(min=1), entries).sort().values
        indices = torch.where(values != 0, _nearest(values, entries), -1)
        return cls(weight, indices.view(weight.shape), entries)

    @torch.no_grad()
    def share(self) -> None:
        """Put the entries into the network."""
        self.weight.copy_(torch.where(self.indices >= 0, self.entries[self.indices.clamp(min=0)], 0))

    @torch.no_grad()
    def gather(self) -> None:
        """Add up the gradients of the weights that share an entry (section 3.3)."""
        assert self.weight.grad is not None
        used = self.indices >= 0
        self.entries.grad = torch.zeros_like(self.entries).index_add_(0, self.indices[used], self.weight.grad[used])


def _nearest(values: Tensor, entries: Tensor) -> Tensor:
    """The index of the entry that is nearest to each value; entries rise."""
    return torch.bucketize(values, (entries[1:] + entries[:-1]) / 2)


class CodebookOptimizer(WrappedOptimizer):
    """An optimiser of codebooks (parameters of the inner one) and of everything that has none."""

    def __init__(self, inner: torch.optim.Optimizer, codebooks: Sequence[Codebook]) -> None:
        super().__init__(inner)
        self.codebooks = codebooks

    def zero_grad(self) -> None:
        """Forget the gradients."""
        super().zero_grad()
        for codebook in self.codebooks:
            codebook.weight.grad = None

    def step(self) -> None:
        """Move the entries, and with them the weights."""
        for codebook in self.codebooks:
            codebook.gather()
        self.inner.step()
        for codebook in self.codebooks:
            codebook.share()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, beside the network."""
        books = [(codebook.indices, codebook.entries.detach()) for codebook in self.codebooks]
        return {**super().state_dict(), "codebooks": books}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` put away."""
        super().load_state_dict(state)
        for codebook, (indices, entries) in zip(self.codebooks, state["codebooks"], strict=True):
            codebook.indices = indices
            codebook.entries.copy_(entries)


def published_bytes(weights: Mapping[str, Array | Quantized]) -> int:
    """What the paper's own coding needs (section 4): codebook, Huffman codes of indices and of gaps; biases as float32."""
    total = 0
    for part in weights.values():
        array = part.dequantized() if isinstance(part, Quantized) else part
        total += _layer_bytes(array) if array.ndim > 1 else 4 * array.size
    return total


def _layer_bytes(weight: NDArray[np.float32]) -> int:
    flat = weight.ravel()
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    entries, indices = np.unique(flat[places], return_inverse=True)
    return 4 * len(entries) + min(_coded_bytes(indices, gaps, len(entries), 2**bits) for bits in GAP_BITS)


def _coded_bytes(indices: NDArray[np.intp], gaps: NDArray[np.intp], zero: int, longest: int) -> int:
    fillers = int((gaps // longest).sum())
    symbols, steps = Counter(indices.tolist()), Counter((gaps % longest).tolist())
    if fillers:
        symbols[zero] += fillers
        steps[longest - 1] += fillers
    return sum(coded_bytes(counts) for counts in (symbols, steps) if counts)
