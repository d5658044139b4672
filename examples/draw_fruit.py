"""Draw a small set of pictures to try things on: apples, bananas, lemons and pears on tables, one folder a class."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# Hues of each fruit, from and to; 256 is red again.
HUES = {"apple": (245, 275), "banana": (32, 42), "lemon": (34, 46), "pear": (38, 62)}
AROUND = np.linspace(0, 2 * np.pi, 90)


def outline(fruit):
    """Points [n, 2] around a middle, for a fruit of about radius 1."""
    if fruit == "banana":
        bow, half = np.linspace(-1.1, 1.1, 45), 0.34 * np.cos(np.linspace(-1.4, 1.4, 45))[:, None]
        arc = np.stack([np.sin(bow), 0.7 - np.cos(bow)], 1)
        return np.add(np.concatenate([arc * (1 + half), (arc * (1 - half))[::-1]]), [0, 0.2])

    def bump(where, sharpness):
        return np.exp(-sharpness * ((AROUND - where + np.pi) % (2 * np.pi) - np.pi) ** 2)

    radius = {
        "apple": 0.85 - 0.12 * bump(3 * np.pi / 2, 18),
        "lemon": 0.72 + 0.3 * bump(0, 9) + 0.3 * bump(np.pi, 9),
        "pear": 0.68 + 0.28 * np.sin(AROUND).clip(0) + 0.36 * bump(3 * np.pi / 2, 6),
    }[fruit]
    return np.stack([radius * np.cos(AROUND), radius * np.sin(AROUND)], 1)


def table(side, random):
    """A table [side, side, 3], of any colour, brighter on one side, with a grain."""
    rows, columns = np.mgrid[:side, :side] / side
    slope = rows + random.uniform(-1, 1) * columns
    grain = Image.fromarray(random.integers(0, 256, (side // 4, side // 8), np.uint8)).resize((side, side))
    rough = random.uniform(0.02, 0.15) * (np.asarray(grain, float) - 128)
    return random.uniform(60, 200, 3) + random.uniform(-60, 60, 3) * slope[..., None] + rough[..., None]


def drawn(fruit, side, random):
    """One picture [side, side], as if photographed: a fruit with its shadow, light from somewhere, a little noise."""
    angle, radius, middle = random.uniform(0, 2 * np.pi), random.uniform(0.22, 0.4) * side, random.uniform(0.38, 0.62, 2) * side
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = outline(fruit) * radius @ turn * random.uniform(0.85, 1.1, 2) + middle
    mask = Image.new("L", (side, side))
    ImageDraw.Draw(mask).polygon([tuple(point) for point in points], fill=255)
    inside = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.8)))[..., None] / 255
    moved = mask.filter(ImageFilter.GaussianBlur(side / 25)).transform(mask.size, Image.Transform.AFFINE, (1, 0, -4, 0, 1, -8))
    shadow = np.asarray(moved)[..., None] / 255
    lit = middle + random.uniform(-0.5, 0.5, 2) * radius
    far = (np.stack(np.mgrid[:side, :side][::-1], 2) - lit) / radius
    light = (1 - (far**2).sum(2, keepdims=True) / 3).clip(0.25, 1)
    colour = (int(random.integers(*HUES[fruit])) % 256, int(random.integers(150, 240)), int(random.integers(170, 250)))
    body = np.array(Image.new("HSV", (1, 1), colour).convert("RGB"))[0, 0] * light
    seen = table(side, random) * (1 - shadow / 2) * (1 - inside) + body * inside
    seen = seen * random.uniform(0.7, 1.15) + random.normal(0, random.uniform(2, 10), seen.shape)
    return Image.fromarray(seen.clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--each", type=int, default=40, help="pictures of each class (default 40)")
    parser.add_argument("--side", type=int, default=160, help="in pixels (default 160)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator = np.random.default_rng(given.seed)
    for name in HUES:
        (given.folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(given.each):
            drawn(name, given.side, generator).save(given.folder / name / f"{number:03d}.jpg", quality=90)
