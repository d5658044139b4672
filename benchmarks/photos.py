"""How accurate is what `make` makes of photos, in so many bytes, and what do others reach?

    python benchmarks/photos.py PHOTOS --work WORK [--rows default small …] [--seeds 3] [--per-class N …] [--minutes 20]

PHOTOS has one folder for each class, or train/ and test/ with one for each; without, the seed draws a fifth of each class for the
test. With --per-class only so many photos of each class are learnt, the same ones by every row. Rows:

- default: `make` within 150,000 bytes; small: within 60,000; taught: within 150,000, with EfficientNet-Lite0 as a teacher
- float: the network that `default` was compressed from
- squeezenet: `train --init-from squeezenet1_0-imagenet` at 128 pixels
- old: version 0.1's default, `squeezenet-cifar` from random weights at 32 pixels
- efficientnet: EfficientNet-Lite0 as it is, with a last layer for the classes (needs squeezekit[teacher])

Prints one JSON line for each row and seed. Runs are kept in WORK, so that a stopped measurement goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import squeezekit as sk
from squeezekit.data.image_file import read_image
from squeezekit.data.picture_files import list_pictures
from squeezekit.training.run_folder import Run

TEST_SHARE = 0.2
Found = dict[str, Any]


def divided(photos: Path, work: Path, seed: int, per_class: int | None) -> Path:
    """A folder of links with train/ and test/, made once."""
    folder = work / f"seed-{seed}{f'-{per_class}-a-class' if per_class else ''}"
    if folder.exists():
        return folder
    random, partial = np.random.default_rng(seed), work / f"{folder.name}.partial"
    has_test = (photos / "test").is_dir()
    for place in sorted(path for path in (photos / "train" if has_test else photos).iterdir() if path.is_dir()):
        files = [Path(each.path) for each in list_pictures(place).files]
        files = [files[number] for number in random.permutation(len(files))]
        count = 0 if has_test else round(TEST_SHARE * len(files))
        tested = [Path(each.path) for each in list_pictures(photos / "test" / place.name).files] if has_test else files[:count]
        for part, chosen in (("train", files[count:][:per_class]), ("test", tested)):
            (partial / part / place.name).mkdir(parents=True)
            for file in chosen:
                (partial / part / place.name / file.name).symlink_to(file.resolve())
    partial.rename(folder)
    return folder


def made(folder: Path, out: Path, max_bytes: int, minutes: float, **given: Any) -> Found:
    """What `make` makes."""
    found = sk.make(folder, out, max_bytes=max_bytes, minutes=minutes, platform="server", **given)
    return {"accuracy": found.accuracy.share, "bytes": (out / "model.sqz").stat().st_size, "seconds": sum(found.seconds.values())}


def trained(folder: Path, out: Path, **fields: Any) -> Found:
    """A float network."""
    return of_run(sk.train(folder, out=out, resume=True, **fields))


def of_run(run: Run) -> Found:
    """Its accuracy on the test photos, bytes in float32, seconds of training."""
    summary = run.summary or {}
    return {"accuracy": summary["test"]["accuracy"], "bytes": 4 * summary["parameters"], "seconds": summary["seconds"]}


def efficientnet(folder: Path) -> Found:
    """Frozen features of 224 pixels, logistic regression."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from squeezekit.data.batches import Normalization
    from squeezekit.pretrained.efficientnet_lite0 import efficientnet_lite0

    network, config = efficientnet_lite0()
    normalize, begin = Normalization(config.mean, config.std), time.monotonic()

    @torch.inference_mode()
    def features(part: str) -> tuple[list[Any], list[str]]:
        files = [Path(each.path) for each in list_pictures(folder / part).files]
        found = []
        for file in files:
            image = torch.from_numpy(read_image(str(file), config.image_size, 3))[None].float()
            found.append(network.features(normalize(image)).mean((2, 3))[0].numpy())
        return found, [file.parent.name for file in files]

    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(*features("train"))
    accuracy = float(fitted.score(*features("test")))
    size = 4 * sum(parameter.numel() for parameter in network.features.parameters())
    return {"accuracy": accuracy, "bytes": size, "seconds": time.monotonic() - begin}


def squeezenet(folder: Path, out: Path, minutes: float) -> Found:
    """ImageNet's SqueezeNet v1.0, fine-tuned."""
    return trained(folder, out / "squeezenet", init_from="squeezenet1_0-imagenet", image_size=128, minutes=minutes)


# Each for a divided folder, a folder for its runs, and minutes.
ROWS: dict[str, Callable[[Path, Path, float], Found]] = {
    "default": lambda folder, out, minutes: made(folder, out / "default", 150_000, minutes),
    "small": lambda folder, out, minutes: made(folder, out / "small", 60_000, minutes),
    "taught": lambda folder, out, minutes: made(folder, out / "taught", 150_000, minutes, teacher="efficientnet-lite0"),
    "float": lambda _folder, out, _minutes: of_run(Run(out / "default" / "run")),
    "squeezenet": squeezenet,
    "old": lambda folder, out, _minutes: trained(folder, out / "old", network="squeezenet-cifar", recipe="modern"),
    "efficientnet": lambda folder, _out, _minutes: efficientnet(folder),
}


def rows(given: argparse.Namespace) -> Iterator[Found]:
    """All that are asked for."""
    for seed in range(given.seeds):
        for per_class in given.per_class or [None]:
            folder = divided(given.photos, given.work, seed, per_class)
            out = given.work / f"runs-{folder.name}"
            out.mkdir(exist_ok=True)
            for name in given.rows:
                found = ROWS[name](folder, out, given.minutes)
                about = {"data": given.photos.name, "row": name, "seed": seed, "per_class": per_class, "minutes": given.minutes}
                yield {**about, **found, "accuracy": round(found["accuracy"], 4), "seconds": round(found["seconds"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--work", required=True, metavar="WORK", type=Path, help="where runs are kept")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["default", "small", "float"], metavar="ROW")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--per-class", type=int, nargs="+", metavar="N")
    parser.add_argument("--minutes", type=float, default=20, metavar="M", help="of each row (default 20)")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for row in rows(arguments):
        print(json.dumps(row), flush=True)
