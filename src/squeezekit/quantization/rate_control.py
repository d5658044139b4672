"""Rate control: training on a grid that ends at or just below a promised number of bytes.

What a bit costs changes while it goes on, so that the bits come to what is left for them, as in encoders of video (Li et al.,
2014, “λ domain rate control algorithm for High Efficiency Video Coding”, IEEE Transactions on Image Processing 23:9).
"""

from __future__ import annotations

from collections.abc import Callable

from squeezekit.quantization.qat import GridOptimizer

# Steps between two looks at what weights cost, for which the host must wait for a GPU.
EVERY = 20
# Shares of the round after which weights are encoded, to see what they really take.
ENCODED_AT = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
# Bits cost at most so many times more or less than the steps of the grids were made for.
MOST_MULTIPLIER = 8.0
# What is aimed at, of the promise.
TARGET = 0.998
# What training leaves a little too large is rounded once more, with bits dearer by such a factor, then by its square and so on;
# what it leaves larger than that stays as it is, since rounding alone would only cost accuracy.
TRIM, MOST_TRIMS, MUCH_TOO_LARGE = 1.02, 6, 1.03


class RateControl:
    """Steers a round of training to `max_bytes`: bits cost more while weights take too many, and less while they take fewer.

    `size` encodes the network as it is and counts the bytes, in many steps' time; from one such count to the next the budget of
    bits for weights stands.
    """

    def __init__(self, optimizer: GridOptimizer, size: Callable[[], int], max_bytes: int, steps: int) -> None:
        self.optimizer, self.size, self.max_bytes, self._promised = optimizer, size, max_bytes, max_bytes
        self._encoded_at = {max(round(share * steps), 1) for share in ENCODED_AT}
        optimizer.bit_budget = self._budget()

    def steer(self, step: int) -> None:
        """After that step of the round, counted from 1."""
        if step in self._encoded_at:
            self.optimizer.bit_budget = self._budget()
        if step % EVERY == 0:
            self._multiply(self.optimizer.bits() / self.optimizer.bit_budget)

    def trim(self) -> None:
        """After the last step: round a little harder while it is a little too large."""
        for number in range(MOST_TRIMS):
            if not 1 < self.size() / self.max_bytes <= MUCH_TOO_LARGE:
                return
            self.optimizer.rate_multiplier.mul_(TRIM**2**number)
            self.optimizer.round_again()

    def missed(self, size: int) -> bool:
        """Whether the file has a little more bytes than promised after all; to trim again then ends below that."""
        self.max_bytes -= max(size - self._promised, 0)
        return 1 < size / self._promised <= MUCH_TOO_LARGE

    def _budget(self) -> float:
        """Bits that weights may take; at least a tenth of what they do, since dearer bits can only do so much."""
        now = self.optimizer.bits()
        return max(now + 8 * (TARGET * self.max_bytes - self.size()), 0.1 * now)

    def _multiply(self, factor: float) -> None:
        wanted = float(self.optimizer.rate_multiplier) * factor
        self.optimizer.rate_multiplier.fill_(min(max(wanted, 1 / MOST_MULTIPLIER), MOST_MULTIPLIER))
