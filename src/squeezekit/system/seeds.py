"""Random numbers that depend only on where they are used, never on what was drawn before.

Shuffles, augmentation and dropout of step s in epoch e are drawn from a seed derived from (seed, e, s): a resumed
run needs no stored generator to repeat what an unbroken run would have drawn.
"""

from __future__ import annotations

import numpy as np
import torch


def derived_seed(seed: int, *place: int) -> int:
    """A 63-bit seed that differs for every seed and place (numpy's SeedSequence mixes them)."""
    return int(np.random.SeedSequence((seed, *place)).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *place: int) -> torch.Generator:
    """A CPU generator for one place."""
    return torch.Generator().manual_seed(derived_seed(seed, *place))
