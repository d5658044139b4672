"""Deep Compression as published (Han et al., 2016, arXiv 1510.00149), the baseline of our own method.

Weights of small magnitude are pruned and the rest retrained, in rounds of falling density; then the weights of each layer share
the entries of a trained codebook; then they are Huffman coded. Batch normalization, which the paper's networks do not have, is
folded into the weights before they share a codebook.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from squeezekit.acceleration.folding import folded
from squeezekit.codec.encodings import Array, Quantized
from squeezekit.codec.huffman import coded_bytes
from squeezekit.compression.candidate import Candidate, TrainingRound
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.target import Target
from squeezekit.modelfile.sqz import Sqz
from squeezekit.quantization.pruning import PruningOptimizer, pruning_mask
from squeezekit.quantization.weight_layers import weight_layers
from squeezekit.quantization.weight_sharing import Codebook, CodebookOptimizer
from squeezekit.training.optimizers import optimizer_for

# Of 1 ÷ density: half of the weights first, then fewer.
FIRST, GROWTH = 2.0, 1.4
# Bits of a gap between two weights that are kept; a longer gap has a zero in between. The best for each layer.
GAP_BITS = (4, 5, 8)
CODEBOOK_BITS = (8, 6)
# A pruning round, then one for each size of codebook.
ROUNDS_PER_DENSITY = 1 + len(CODEBOOK_BITS)
# Changes of the run's own recipe, whose weight decay stays.
PRUNING_RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "momentum": 0.9,
    "schedule": "one-cycle",
    "warmup": 0.05,
    "patience": 0,
    "label_smoothing": 0.0,
}
# An entry moves by the gradients of thousands of weights: at four times this rate codebooks of 6 bits diverge.
CODEBOOK_RECIPE: dict[str, Any] = {**PRUNING_RECIPE, "learning_rate": 0.0005}


class DeepCompression:
    """The method `deep-compression`: at each density codebooks of 2⁸ and 2⁶ entries, one of them zero.

    1 ÷ density takes the place of the rate weight.
    """

    max_ptq_candidates = 0

    def __init__(self, context: CompressionContext, target: Target) -> None:
        self.context, self.target = context, target

    def next_ptq(self, ptq: Sequence[Candidate]) -> None:
        """Nothing is tried without training."""

    def next_round(self, ptq: Sequence[Candidate], rounds: Sequence[Candidate], epochs: int) -> TrainingRound | None:
        """Pruning, and after each pruning the codebooks; the larger ones decide whether that density was too low."""
        turn = len(rounds) % ROUNDS_PER_DENSITY
        pruned, shared = rounds[::ROUNDS_PER_DENSITY], rounds[1::ROUNDS_PER_DENSITY]
        if turn:
            return self._codebook_round(pruned[-1], CODEBOOK_BITS[turn - 1], epochs)
        following = self.target.next_rate_weight([(each.rate_weight, each.stage) for each in shared], FIRST, GROWTH)
        if following is None:
            return None
        start = None if following.start is None else pruned[following.start]
        return self._pruning_round(following.rate_weight, start, epochs)

    def _pruning_round(self, inverse_density: float, earlier: Candidate | None, epochs: int) -> TrainingRound:
        network = self.context.network()
        if earlier:
            network.load_state_dict(earlier.state["network"])
        weights = [layer.weight for layer in weight_layers(network)]
        recipe = self.context.recipe(epochs, PRUNING_RECIPE)
        masks = [pruning_mask(weight, 1 / inverse_density) for weight in weights]
        optimizer = PruningOptimizer(optimizer_for(network, recipe), weights, masks)
        stages = earlier.file.stages if earlier else (self.context.trained,)
        name = f"pruned to a density of {1 / inverse_density:.3f}"

        def finish() -> tuple[Sqz, dict[str, Any]]:
            arrays = {key: tensor.numpy() for key, tensor in folded(network.eval()).state_dict().items()}
            return self.context.builder.build(name, arrays, stages), {"network": network.state_dict()}

        return TrainingRound(name, inverse_density, self.context.trainer(network, optimizer, recipe), lambda: name, finish)

    def _codebook_round(self, pruned: Candidate, bits: int, epochs: int) -> TrainingRound:
        network = self.context.network()
        network.load_state_dict(pruned.state["network"])
        network = folded(network.eval())
        codebooks = [Codebook.of(layer.weight, 2**bits) for layer in weight_layers(network)]
        shared = {id(codebook.weight) for codebook in codebooks}
        others = [parameter for parameter in network.parameters() if id(parameter) not in shared]
        recipe = self.context.recipe(max(epochs // 2, 1), CODEBOOK_RECIPE)
        entries = [codebook.entries for codebook in codebooks]
        inner = torch.optim.SGD([*entries, *others], recipe.learning_rate, recipe.momentum, nesterov=True)
        optimizer = CodebookOptimizer(inner, codebooks)
        name = f"codebooks of {bits} bits at a density of {1 / pruned.rate_weight:.3f}"

        def finish() -> tuple[Sqz, dict[str, Any]]:
            arrays = {key: tensor.numpy() for key, tensor in network.eval().state_dict().items()}
            return self.context.builder.build(name, arrays, pruned.file.stages), {}

        return TrainingRound(name, pruned.rate_weight, self.context.trainer(network, optimizer, recipe), lambda: name, finish)


def published_bytes(weights: Mapping[str, Array | Quantized]) -> int:
    """The size in the paper's own coding (section 4): codebooks, Huffman codes of indices and of gaps; biases as float32."""
    total = 0
    for part in weights.values():
        array = part.dequantize() if isinstance(part, Quantized) else part
        total += _layer_bytes(array) if array.ndim > 1 else 4 * array.size
    return total


def _layer_bytes(weight: NDArray[np.float32]) -> int:
    flat = weight.ravel()
    positions = np.flatnonzero(flat)
    gaps = np.diff(positions, prepend=-1) - 1
    entries, indices = np.unique(flat[positions], return_inverse=True)
    return 4 * len(entries) + min(_coded_bytes(indices, gaps, len(entries), 2**bits) for bits in GAP_BITS)


def _coded_bytes(indices: NDArray[np.intp], gaps: NDArray[np.intp], zero: int, longest: int) -> int:
    fillers = int((gaps // longest).sum())
    index_counts, gap_counts = Counter(indices.tolist()), Counter((gaps % longest).tolist())
    if fillers:
        index_counts[zero] += fillers
        gap_counts[longest - 1] += fillers
    return sum(coded_bytes(counts) for counts in (index_counts, gap_counts) if counts)
