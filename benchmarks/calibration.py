"""How much does calibration on a few images lose, with labels taken as certain and as sure as so many images allow?

    python benchmarks/calibration.py MODEL DATA [--images 10 20 40 80] [--draws 40]

The temperature is found on so many of the validation images, drawn again and again; loss (nats) and calibration error are those
of the other validation images at that temperature. One line of JSON for each number of images and each way: means, and the
worst loss.
"""

from __future__ import annotations

import argparse
import json
from statistics import fmean

import torch
import torch.nn.functional as F

from squeezekit.data.batches import Batches
from squeezekit.inference.evaluation import calibration_error, own_images
from squeezekit.inference.model import load_model
from squeezekit.modelfile.probability_calibration import fit_temperature
from squeezekit.training.measurement import logits_of

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--images", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--draws", type=int, default=40)
    given = parser.parse_args()
    model = load_model(given.model)
    source = own_images(model, given.data)
    images = source.training.subset(model.validation(source.training))
    logits, labels = logits_of(model.network, Batches(images, batch_size=250, mean=model.config.mean, std=model.config.std))
    if max(given.images) >= len(labels):
        parser.error(f"--images: give less than {len(labels)}, the number of validation images")
    for count in given.images:
        for way, doubt in (("certain", 0.0), ("n + 1 in n + 2", 1 / (count + 2))):
            random = torch.Generator().manual_seed(0)
            found = []
            for _ in range(given.draws):
                drawn, others = torch.randperm(len(labels), generator=random).tensor_split([count])
                temperature = fit_temperature(logits[drawn], labels[drawn], doubt)
                scaled = logits[others].double() / temperature
                error = calibration_error(scaled.softmax(1), labels[others])
                found.append((temperature, float(F.cross_entropy(scaled, labels[others])), float(error)))
            temperatures, losses, errors = zip(*found, strict=True)
            line = {
                "model": given.model,
                "images": count,
                "labels": way,
                "draws": given.draws,
                "temperature": round(fmean(temperatures), 4),
                "loss": round(fmean(losses), 4),
                "calibration_error": round(fmean(errors), 4),
                "worst_loss": round(max(losses), 4),
            }
            print(json.dumps(line), flush=True)
