"""Blocks that are alive together never overlap, and the arena is as small as it can be."""

import numpy as np

from squeezekit.integer.planner import ArenaBlock, place_blocks


def overlapping(blocks, offsets):
    """Pairs of blocks that share bytes at a step."""
    pairs = [(i, j) for i in range(len(blocks)) for j in range(i)]
    return [
        (i, j)
        for i, j in pairs
        for first, second in blocks[i].shared_steps(blocks[j])
        if offsets[i] < offsets[j] + second and offsets[j] < offsets[i] + first
    ]


def test_a_chain_needs_its_two_largest_neighbors():
    sizes = (100, 50, 70, 20)
    blocks = [ArenaBlock.of(size, step, step + 1) for step, size in enumerate(sizes)]
    arena = place_blocks(blocks)
    assert arena.bytes == arena.least == 150
    assert overlapping(blocks, arena.offsets) == []


def test_more_blocks_than_python_calls_are_placed():
    blocks = [ArenaBlock.of(1 + step % 7, step, step + 1) for step in range(1100)]
    arena = place_blocks(blocks)
    assert arena.bytes == arena.least == 13


def test_random_blocks_never_overlap():
    random = np.random.default_rng(0)
    for _ in range(50):
        begins, lengths, sizes = random.integers(0, 8, 10), random.integers(0, 3, 10), random.integers(1, 100, 10)
        blocks = [ArenaBlock.of(int(s), int(b), int(b + n)) for b, n, s in zip(begins, lengths, sizes, strict=True)]
        arena = place_blocks(blocks)
        assert overlapping(blocks, arena.offsets) == [] and arena.bytes >= arena.least
        assert all(offset + max(block.sizes) <= arena.bytes for offset, block in zip(arena.offsets, blocks, strict=True))


def test_merged_blocks_need_the_larger_of_both_at_each_step():
    merged = ArenaBlock.of(5, 1, 2).merged(ArenaBlock.of(9, 2, 4))
    assert [merged.size_at(step) for step in range(6)] == [0, 5, 9, 9, 9, 0]
