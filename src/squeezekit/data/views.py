"""The views of an image that augmentation draws from: shifts, and the mirror image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ViewGrid:
    """Rows and columns moved by a multiple of `step` pixels, up to `reach`, each also mirrored where `mirror` is set.

    Views are numbered from 0 to `len(grid)` - 1.
    """

    reach: int
    step: int
    mirror: bool

    @property
    def furthest(self) -> int:
        """The furthest shift, in steps."""
        return self.reach // self.step

    @property
    def _places(self) -> int:
        return 2 * self.furthest + 1

    def __len__(self) -> int:
        """How many views an image has."""
        return self._places**2 * (2 if self.mirror else 1)

    def numbers(self, shifts: Tensor, mirrored: Tensor) -> Tensor:
        """The view of each image, int64 [n], by the pixels that its rows and columns are moved by [2, n], and bool [n]."""
        rows, columns = shifts // self.step + self.furthest
        views: Tensor = (mirrored.long() * self._places + rows) * self._places + columns
        return views

    def shifts(self, views: Tensor) -> Tensor:
        """The pixels that rows and columns are moved by in views [n]: int64 [2, n]."""
        places = torch.stack([views // self._places % self._places, views % self._places])
        return (places - self.furthest) * self.step

    def mirrored(self, views: Tensor) -> Tensor:
        """Which of the views [n] are of the mirror image: bool [n]."""
        return views >= self._places**2


def step_of_about_50_views(reach: int) -> int:
    """The pixels between shifts up to `reach` that leave at most 50 views: five shifts a direction, two pixels apart or more."""
    return max(min(2, reach), -(-reach // 2), 1)
