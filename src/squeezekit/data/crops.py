"""Random crops of photos, seen at the size of a network: larger or smaller, mirrored, with colours moved a little."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Width ÷ height of a crop at most, and at least 1 ÷ that (Szegedy et al., 2014, arXiv 1409.4842, section 6).
MOST_STRETCHED = 4 / 3
# What green, red and blue have of brightness (ITU-R BT.601).
BRIGHTNESS = (0.299, 0.587, 0.114)
# Random numbers of a view: area, shape, place in two directions, brightness, contrast, saturation.
NUMBERS = 7
# Side of the images that are kept ÷ that of a crop's: whole, an image is still seen at its own sharpness.
KEPT_LARGER = 8 / 7


def kept_side(image_size: int) -> int:
    """Side of the images from which a network of that size sees crops."""
    return round(KEPT_LARGER * image_size)


@dataclass(frozen=True)
class Crops:
    """Views of images: at least the share `least` of their area, in a square of `size` pixels.

    `color` is the furthest that brightness, contrast and saturation move, as a share of themselves.
    """

    size: int
    least: float
    color: float

    def drawn(self, count: int, random: torch.Generator) -> Tensor:
        """The random numbers of so many views: 0…1 [NUMBERS, n]."""
        return torch.rand(NUMBERS, count, generator=random)

    def __call__(self, images: Tensor, drawn: Tensor, mirrored: Tensor) -> Tensor:
        """Views of images, uint8 [n, h, w, c], by their random numbers [NUMBERS, n], mirrored or not, bool [n].

        Returns float [n, size, size, c], 0…255.
        """
        area, shape, across, down, *colors = drawn
        area = self.least + (1 - self.least) * area
        # Not so wide or high that it would not fit.
        stretch = (MOST_STRETCHED ** (2 * shape - 1)).maximum(area).minimum(1 / area)
        width, height = (area * stretch).sqrt(), (area / stretch).sqrt()
        zero = torch.zeros_like(area)
        # In torch's coordinates an image reaches from -1 to 1.
        left, top = (1 - width) * (2 * across - 1), (1 - height) * (2 * down - 1)
        rows = [torch.stack([width.where(~mirrored, -width), zero, left], 1), torch.stack([zero, height, top], 1)]
        shown = [len(images), images.shape[3], self.size, self.size]
        grid = F.affine_grid(torch.stack(rows, 1), shown, align_corners=False)
        pixels = images.permute(0, 3, 1, 2).float()
        views = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)
        return self._colored(views, *(1 + self.color * (2 * each - 1) for each in colors)) if self.color else views

    def _colored(self, views: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
        """Pixels [n, h, w, c] with each of these multiplied by a number an image [n]."""
        by = [factor[:, None, None, None] for factor in (brightness, contrast, saturation)]
        grey = views
        if views.shape[3] == 3:
            grey = (views * torch.tensor(BRIGHTNESS, device=views.device)).sum(3, keepdim=True)
            views = torch.lerp(grey, views, by[2])
        views = torch.lerp(grey.mean((1, 2, 3), keepdim=True), views, by[1]) * by[0]
        return views.clamp_(0, 255)
