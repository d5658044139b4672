"""Training on a grid that ends at a promised number of bytes."""

from __future__ import annotations

from collections.abc import Callable

from squeezekit.compression.quantised_training import GridOptimizer

# Steps between two looks at what weights cost, for which the host must wait for a GPU.
EVERY = 20
# Shares of the round after which a file is written to see what it really takes.
WRITTEN_AT = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
# Bits cost at most so many times more or less than the steps of the grids were made for.
MOST_DEARNESS = 8.0
# What is aimed at, of the promise.
AIM = 0.998
# What training leaves too large is rounded once more, with bits dearer by so much each time: a few bytes, not accuracy.
TRIM, MOST_TRIMS = 1.02, 12


class Landing:
    """Steers a round of training to `max_bytes`: bits cost more while weights take too many, and less while they take fewer.

    `size` writes what the network is now and counts the bytes, in many steps' time; from one such count to the next the bits that
    weights may take are known.
    """

    def __init__(self, optimizer: GridOptimizer, size: Callable[[], int], max_bytes: int, steps: int) -> None:
        self.optimizer, self.size, self.max_bytes, self._promised = optimizer, size, max_bytes, max_bytes
        self._written_at = {max(round(share * steps), 1) for share in WRITTEN_AT}
        optimizer.most_bits = self._affordable()

    def steer(self, step: int) -> None:
        """After that step of the round, counted from 1."""
        if step in self._written_at:
            self.optimizer.most_bits = self._affordable()
        if step % EVERY == 0:
            self._press(self.optimizer.bits() / self.optimizer.most_bits)

    def land(self) -> None:
        """After the last step: round a little harder while it is still too large."""
        for _ in range(MOST_TRIMS):
            if self.size() <= self.max_bytes:
                return
            self._press(TRIM)
            self.optimizer.round_again()

    def missed(self, size: int) -> bool:
        """Whether the file has more bytes than promised after all; to land again then ends below that."""
        self.max_bytes -= max(size - self._promised, 0)
        return size > self._promised

    def _affordable(self) -> float:
        """Bits that weights may take; at least a tenth of what they do, since pressure can only do so much."""
        now = self.optimizer.bits()
        return max(now + 8 * (AIM * self.max_bytes - self.size()), 0.1 * now)

    def _press(self, factor: float) -> None:
        wanted = float(self.optimizer.dearness) * factor
        self.optimizer.dearness.fill_(min(max(wanted, 1 / MOST_DEARNESS), MOST_DEARNESS))
