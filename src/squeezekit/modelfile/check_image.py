"""The images of a file's self-check, which any machine can make, and what its result means."""

from __future__ import annotations

import math

CELL = 4
# Of the largest logit: more than the order of additions changes in float32.
TOLERANCE = 1e-3
# Each takes an inference.
MOST_SEEDS = 8


def problem_of_difference(difference: float) -> str | None:
    """What a difference from the expected logits, as a share of the largest, says against a network, in half a sentence.

    None where it passes; infinite are answers that are no numbers.
    """
    if difference < TOLERANCE:
        return None
    if not math.isfinite(difference):
        return "it fails its self-check, its answers are no numbers"
    return f"it fails its self-check, its answers differ by {100 * difference:.3g} % of the largest"


def check_pixels(seed: int, size: int, channels: int) -> bytes:
    """An image of cells of 4 × 4 pixels, one color each: uint8 [size, size, channels], row by row.

    Colors come row by row and channel by channel from x = 1664525·x + 1013904223 modulo 2**32, the highest byte of each x
    after `seed` (Press et al., “Numerical Recipes”, section 7.1).
    """
    cells, rows = -(-size // CELL), list[bytes]()
    for _ in range(cells):
        row = bytearray()
        for _ in range(cells):
            color = bytearray()
            for _ in range(channels):
                seed = (1664525 * seed + 1013904223) & 0xFFFFFFFF
                color.append(seed >> 24)
            row += color * CELL
        rows += [bytes(row[: size * channels])] * CELL
    return b"".join(rows[:size])
