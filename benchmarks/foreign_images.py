"""How many foreign pictures does each rule turn away where it keeps 95 % of one's own?

    python benchmarks/foreign_images.py MODEL DATA [--foreign FOLDER …] [--drawn noise textures …] [--images 1000]

Thresholds keep 95 % of the validation images; what rules know of the classes they learn from 1,024 training images. One line of
JSON for each rule and each foreign set: the share of own test images kept, the share of foreign ones turned away, how much more
that is than by softmax (mean and 95 % interval over pairs), and the AUROC. Rules are those of OpenOOD v1.5 (arXiv 2306.09301)
that a few numbers a class describe; `none of these` is the one that files hold.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.data.image_file import read_image
from squeezekit.data.image_set import ImageSet
from squeezekit.data.picture_files import list_pictures
from squeezekit.inference.evaluation import own_images
from squeezekit.inference.model import Model, load_model
from squeezekit.modelfile.none_of_these import MAX_SCORE, NoneOfThese, rounded
from squeezekit.modelfile.probability_calibration import fit_temperature
from squeezekit.training.measurement import images_at_once, logits_of

TRAINING, KEPT = 1024, 0.95
Pixels = NDArray[np.uint8]
# Logits [n, classes] and what the last layer sees, averaged over positions [n, features], in float64.
Outputs = tuple[Tensor, Tensor]
Rule = Callable[[Tensor, Tensor], Tensor]


def noise(side: int, random: np.random.Generator, number: int) -> NDArray[np.float64]:
    """Normal noise around grey."""
    return random.normal(128, 64, (side, side, 3))


def cells(side: int, random: np.random.Generator, number: int) -> NDArray[np.float64]:
    """Uniform noise in cells of one to eight pixels."""
    cell = (1, 2, 4, 8)[number % 4]
    count = -(-side // cell)
    return random.integers(0, 256, (count, count, 3)).repeat(cell, 0).repeat(cell, 1)[:side, :side].astype(np.float64)


def clouds(side: int, random: np.random.Generator, number: int) -> NDArray[np.float64]:
    """Blurred noise, its contrast stretched."""
    fine = Image.fromarray(random.integers(0, 256, (side, side, 3)).astype(np.uint8))
    soft = np.asarray(fine.filter(ImageFilter.GaussianBlur(1 + number % 4)), np.float64)
    return (soft - soft.mean()) / soft.std() * 55 + random.uniform(80, 170)


def textures(side: int, random: np.random.Generator, number: int) -> NDArray[np.float64]:
    """One to three waves, soft or hard, between two colours."""
    y, x = np.mgrid[:side, :side] / side
    added = np.zeros((side, side))
    for _ in range(1 + number % 3):
        angle, frequency, phase = random.uniform(0, np.pi), random.uniform(2, 12), random.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        added += np.sign(wave) if number % 2 else wave
    return _between(random, (added - added.min()) / (np.ptp(added) + 1e-9))


def digits(side: int, random: np.random.Generator, number: int) -> NDArray[np.float64]:
    """Digits written by hand, enlarged, between two colours."""
    drawn = load_digits(image_size=side).test.images
    return _between(random, drawn[number % len(drawn), :, :, 0] / 255)


def screens(side: int, random: np.random.Generator, number: int) -> NDArray[np.float64]:
    """Windows with lines of text, as JPEG of quality 30 to 90, made small."""
    dark = number % 3 == 0
    paper = random.integers(0, 60, 3) if dark else random.integers(200, 256, 3)
    image = Image.new("RGB", (256, 256), _colour(paper))
    draw, ink = ImageDraw.Draw(image), (230, 230, 230) if dark else (20, 20, 20)
    draw.rectangle((0, 0, 256, int(random.integers(16, 40))), fill=_colour(random.integers(0, 256, 3)))
    for _ in range(random.integers(0, 4)):
        left, top = (int(place) for place in random.integers(0, 200, 2))
        corner = (left + int(random.integers(20, 120)), top + int(random.integers(10, 80)))
        draw.rectangle((left, top, *corner), fill=_colour(random.integers(0, 256, 3)), outline=ink)
    line = int(random.integers(30, 60))
    while line < 240:
        text = "".join(map(chr, random.integers(97, 123, random.integers(5, 40))))
        draw.text((int(random.integers(5, 30)), line), text, fill=ink)
        line += int(random.integers(10, 22))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(random.integers(30, 90)))
    return np.asarray(Image.open(file).resize((side, side), Image.Resampling.BILINEAR), np.float64)


DRAWN = {each.__name__: each for each in (noise, cells, clouds, textures, digits, screens)}


def _between(random: np.random.Generator, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = random.uniform(0, 255, (2, 3))
    return low + (high - low) * shares[:, :, None]


def _colour(numbers: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers)


def drawn_set(name: str, side: int, channels: int, count: int) -> Pixels:
    """So many images of a drawn set, uint8 [count, side, side, channels]."""
    random = np.random.default_rng(1)
    colour = np.stack([DRAWN[name](side, random, number) for number in range(count)]).clip(0, 255).astype(np.uint8)
    return colour if channels == 3 else colour.mean(3, keepdims=True).astype(np.uint8)


def folder_set(folder: str, side: int, channels: int, count: int) -> Pixels:
    """So many images of a folder, evenly chosen."""
    paths = [file.path for file in list_pictures(folder).files]
    chosen = np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)
    return np.stack([read_image(paths[place], side, channels) for place in chosen])


def outputs(model: Model, images: ImageSet) -> tuple[Outputs, Tensor]:
    """Logits and features of images, and their labels."""
    *_, last = (module for module in model.network.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].flatten(2).mean(2) if inputs[0].dim() == 4 else inputs[0])
    )
    config = model.config
    batches = Batches(images, batch_size=images_at_once(config.image_size), mean=config.mean, std=config.std)
    logits, labels = logits_of(model.network, batches)
    hook.remove()
    return (logits.double(), torch.cat(seen).double()), labels


def rules(model: Model, training: Outputs, labels: Tensor, validation: Outputs, temperature: float) -> dict[str, Rule]:
    """Every rule: from logits and features to a score [n] that is larger for what is known."""
    *_, last = (module for module in model.network.modules() if isinstance(module, nn.Conv2d | nn.Linear))
    filters = last.weight.detach().flatten(1).double()
    apart = torch.cdist(filters, filters) + torch.eye(len(filters))
    logits, features = training
    centre = features.mean(0)
    ours = NoneOfThese.fit((logits, labels), validation[0]).test(16)

    def none_of_these(x: Tensor, _: Tensor) -> Tensor:
        integers = rounded(x)
        scores = torch.where(integers.min(1).values < ours.least, -MAX_SCORE, ours.scores(integers))
        return scores.double()

    def fdbd(x: Tensor, z: Tensor) -> Tensor:
        margins = (x.max(1, keepdim=True).values - x) / apart[x.argmax(1)]
        return margins.sum(1) / (z - centre).norm(dim=1)

    def gen(x: Tensor, _: Tensor) -> Tensor:
        p = x.softmax(1)
        return -(p * (1 - p)).pow(0.1).sum(1)

    return {
        "softmax": lambda x, _: (x / temperature).softmax(1).max(1).values,
        "max logit": lambda x, _: x.max(1).values,
        "energy": lambda x, _: x.logsumexp(1),
        "GEN": gen,
        "logits, distance": distance(logits, labels, relative=False, of=0),
        "logits, relative distance": distance(logits, labels, relative=True, of=0),
        "features, distance": distance(features, labels, relative=False, of=1),
        "features, relative distance": distance(features, labels, relative=True, of=1),
        "fDBD": fdbd,
        "none of these": none_of_these,
    }


def distance(known: Tensor, labels: Tensor, *, relative: bool, of: int) -> Rule:
    """From the nearest mean of a class, one variance a dimension; relative to that from the mean of all."""
    classes = labels.unique()
    means = torch.stack([known[labels == k].mean(0) for k in classes])
    scales = 1 / (known - means[torch.searchsorted(classes, labels)]).square().mean(0).clamp(min=1e-6)

    def rule(*found: Tensor) -> Tensor:
        x = found[of]
        nearest = ((x[:, None] - means).square() * scales).sum(2).min(1).values
        return ((x - known.mean(0)).square() * scales).sum(1) - nearest if relative else -nearest

    return rule


def difference(ours: Tensor, theirs: Tensor) -> list[float]:
    """Of two shares over the same images [n]: their difference, and the ends of its 95 % interval."""
    pairs = ours.double() - theirs.double()
    half = 1.96 * float(pairs.std()) / len(pairs) ** 0.5
    return [round(float(pairs.mean()) + side * half, 4) for side in (0, -1, 1)]


def chosen(images: ImageSet, indices: NDArray[np.int64], count: int) -> ImageSet:
    """At most so many of these images, drawn."""
    return images.subset(np.sort(np.random.default_rng(0).permutation(indices)[:count]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--foreign", nargs="*", default=[], metavar="FOLDER")
    parser.add_argument("--drawn", nargs="*", default=[], choices=DRAWN)
    parser.add_argument("--images", type=int, default=1000, help="of each set; twice as many of one's own")
    given = parser.parse_args()
    model = load_model(given.model)
    source = own_images(model, given.data)
    side, channels = model.config.image_size, model.config.channels
    validating = model.validation(source.training)
    trained = np.setdiff1d(np.arange(len(source.training)), validating)
    training, labels = outputs(model, chosen(source.training, trained, TRAINING))
    validation, truth = outputs(model, chosen(source.training, validating, 2 * given.images))
    own, right = outputs(model, chosen(source.test, np.arange(len(source.test)), 2 * given.images))
    temperature = fit_temperature(validation[0], truth, 1 / (len(truth) + 2))
    known = rules(model, training, labels, validation, temperature)
    thresholds = {name: rule(*validation).sort().values[int((1 - KEPT) * len(truth))] for name, rule in known.items()}
    accuracy = float((own[0].argmax(1) == right).double().mean())
    sets = {name: drawn_set(name, side, channels, given.images) for name in given.drawn}
    sets |= {Path(folder).name: folder_set(folder, side, channels, given.images) for folder in given.foreign}
    for name, pixels in sets.items():
        foreign, _ = outputs(model, ImageSet(pixels, np.zeros(len(pixels), np.int64), model.classes, "", mirrorable=False))
        by_softmax = known["softmax"](*foreign) < thresholds["softmax"]
        for title, rule in known.items():
            mine, theirs = rule(*own), rule(*foreign)
            away = theirs < thresholds[title]
            line = {
                "model": Path(given.model).name,
                "accuracy": round(accuracy, 4),
                "foreign": name,
                "images": len(pixels),
                "rule": title,
                "kept": round(float((mine >= thresholds[title]).double().mean()), 4),
                "turned_away": round(float(away.double().mean()), 4),
                "more_than_softmax": difference(away, by_softmax),
                "auroc": round(float(roc_auc_score([1] * len(mine) + [0] * len(theirs), torch.cat((mine, theirs)))), 4),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
