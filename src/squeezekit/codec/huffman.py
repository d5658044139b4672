"""Huffman codes: what Deep Compression codes its weights with."""

from __future__ import annotations

import heapq
from collections.abc import Mapping


def code_lengths(counts: Mapping[int, int]) -> dict[int, int]:
    """The bits of each symbol's code, from how often it occurs (Huffman, 1952); a lone symbol needs one bit."""
    if len(counts) == 1:
        return dict.fromkeys(counts, 1)
    # The second number orders equal counts, so that symbols are never compared.
    heap = [(count, order, [symbol]) for order, (symbol, count) in enumerate(sorted(counts.items()))]
    lengths = dict.fromkeys(counts, 0)
    heapq.heapify(heap)
    order = len(heap)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        merged = first[2] + second[2]
        for symbol in merged:
            lengths[symbol] += 1
        heapq.heappush(heap, (first[0] + second[0], order, merged))
        order += 1
    return lengths


def coded_bytes(counts: Mapping[int, int]) -> int:
    """The size of a canonical code: a byte for each symbol and one for its length, then the codes, padded to whole bytes."""
    lengths = code_lengths(counts)
    bits = sum(counts[symbol] * lengths[symbol] for symbol in counts)
    return 2 * len(counts) + -(-bits // 8)
