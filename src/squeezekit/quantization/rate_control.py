"""Rate control: quantisation-aware training that ends at or just below a target size.

The price of a bit changes during training, so that the weights come to the bits that are left for them, as in video encoders
(Li et al., 2014, “λ domain rate control algorithm for High Efficiency Video Coding”, IEEE Transactions on Image Processing 23:9).
"""

from __future__ import annotations

from collections.abc import Callable

from squeezekit.quantization.qat import QatOptimizer

# Steps between two estimates of the bits, for which the host must wait for a GPU.
ESTIMATE_EVERY = 20
# Shares of the round after which the weights are encoded, to see how many bytes they really take.
ENCODE_AT = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
# The price of a bit changes at most by this factor either way.
MAX_MULTIPLIER = 8.0
# What is aimed at, of the target size.
AIM = 0.998
# A file that training leaves a little too large is rounded again, with the price of a bit raised by such a factor, then by its
# square and so on; a larger one stays as it is, since rounding alone would cost too much accuracy.
TRIM, MAX_TRIMS, TRIMMABLE = 1.02, 6, 1.03


class RateControl:
    """Steers a QAT round to `max_bytes`: the price of a bit rises while weights take too many, and falls while they take fewer.

    `file_bytes` encodes the network as it is and counts the bytes, in many steps' time; from one such count to the next the bit
    budget for weights stands. `steps` are those of the whole round.
    """

    def __init__(self, optimizer: QatOptimizer, file_bytes: Callable[[], int], max_bytes: int, steps: int) -> None:
        self.optimizer, self.file_bytes, self.max_bytes, self._target = optimizer, file_bytes, max_bytes, max_bytes
        self._encode_at = {max(round(share * steps), 1) for share in ENCODE_AT}
        optimizer.bit_budget = self._budget()

    def steer(self, step: int) -> None:
        """Adjust the price of a bit after that step of the round, counted from 1."""
        if step in self._encode_at:
            self.optimizer.bit_budget = self._budget()
        if step % ESTIMATE_EVERY == 0:
            self._multiply(self.optimizer.bits() / self.optimizer.bit_budget)

    def trim(self) -> bool:
        """After the last step: round at a higher price while the file is a little too large; returns whether it was."""
        for number in range(MAX_TRIMS):
            if not 1 < self.file_bytes() / self.max_bytes <= TRIMMABLE:
                return number > 0
            self.optimizer.rate_multiplier.mul_(TRIM**2**number)
            self.optimizer.requantize()
        return True

    def tighten(self, size: int) -> bool:
        """Lower `max_bytes` by what the finished file of `size` bytes exceeds the target; returns whether to trim again."""
        self.max_bytes -= max(size - self._target, 0)
        return 1 < size / self._target <= TRIMMABLE

    def _budget(self) -> float:
        """Bits that weights may take; at least a tenth of what they do, since a higher price can only do so much."""
        now = self.optimizer.bits()
        return max(now + 8 * (AIM * self.max_bytes - self.file_bytes()), 0.1 * now)

    def _multiply(self, factor: float) -> None:
        wanted = float(self.optimizer.rate_multiplier) * factor
        self.optimizer.rate_multiplier.fill_(min(max(wanted, 1 / MAX_MULTIPLIER), MAX_MULTIPLIER))
