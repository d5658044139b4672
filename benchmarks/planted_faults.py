"""Does `squeezekit check` find what is wrong with a set of photos? Faults are planted into a copy, and looked for.

    python benchmarks/planted_faults.py DATA --work FOLDER [--model MODEL] [--seed 0] [--quick]

DATA is a folder with one folder of photos for each class. Into a copy in FOLDER go: 2 % wrong labels (photos moved to another
class); 20 copies each of four kinds (the same file; resized to 60 %; JPEG of quality 40; 2 % cut off each side, 15 % brighter),
every fourth in another class than its photo; and a leak: every tenth photo is for the test, and 20 recompressed photos of the
training part are among them. Prints one JSON line: balanced accuracy out of fold; the share of planted labels among the most
doubtful as long as half of these are planted ("at half precision"), among all that are flagged, and the precision of these;
copies and leaks found; groups of copies that were not planted; seconds and processor seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

import squeezekit as sk
from squeezekit.data.findings import Findings
from squeezekit.data.image_file import IMAGE_SUFFIXES

WRONG_PERCENT, COPIES, LEAKS, TEST_EVERY = 2, 20, 20, 10
KINDS = ("same", "resized", "recompressed", "cropped")


def plant(data: Path, work: Path, seed: int) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """Copy and spoil; returns the paths of wrong labels, and of each planted copy its kind and its original, as paths."""
    shutil.rmtree(work, ignore_errors=True)
    random = np.random.default_rng(seed)
    classes = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    photos = [path for name in classes for path in sorted((data / name).iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    parts = ["test" if number % TEST_EVERY == 0 else "train" for number in range(len(photos))]
    chosen = random.permutation(len(photos))
    wrong_count = len(photos) * WRONG_PERCENT // 100
    wrong, used = set(chosen[:wrong_count].tolist()), wrong_count
    places: dict[int, str] = {}
    wrong_paths = set()
    for number, (path, part) in enumerate(zip(photos, parts, strict=True)):
        label = path.parent.name
        if number in wrong:
            label = str(random.choice([name for name in classes if name != label]))
        places[number] = f"{part}/{label}/{path.parent.name}-{path.name}"
        if number in wrong:
            wrong_paths.add(places[number])
        (work / places[number]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, work / places[number])
    copies = {}
    training = [number for number in chosen[used:].tolist() if parts[number] == "train"]
    for at, number in enumerate(training[: COPIES * len(KINDS) + LEAKS]):
        kind = KINDS[at // COPIES] if at < COPIES * len(KINDS) else "leak"
        part, label, name = places[number].split("/")
        if kind == "leak":
            part = "test"
        elif at % 4 == 3:
            label = str(random.choice([other for other in classes if other != label]))
        target = f"{part}/{label}/copy-{at}-{Path(name).stem}{Path(name).suffix if kind == 'same' else '.jpg'}"
        spoil(photos[number], work / target, kind)
        copies[target] = (kind, places[number])
    return wrong_paths, copies


def spoil(photo: Path, target: Path, kind: str) -> None:
    """One copy of that kind."""
    if kind == "same":
        shutil.copy(photo, target)
        return
    image = Image.open(photo).convert("RGB")
    width, height = image.size
    if kind == "resized":
        image = image.resize((round(0.6 * width), round(0.6 * height)), Image.Resampling.LANCZOS)
    if kind == "cropped":
        image = image.crop((round(0.02 * width), round(0.02 * height), round(0.98 * width), round(0.98 * height)))
        image = ImageEnhance.Brightness(image).enhance(1.15)
    image.save(target, "JPEG", quality=40 if kind == "recompressed" else 85)


def found_at_half_precision(doubtful: Sequence[str], wrong: set[str]) -> int:
    """Planted labels in the longest beginning of the list of which at least half is planted."""
    hits = np.cumsum([path in wrong for path in doubtful])
    good = np.flatnonzero(2 * hits >= np.arange(1, len(hits) + 1))
    return int(hits[good[-1]]) if len(good) else 0


def measured(findings: Findings, wrong: set[str], copies: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """What was found of what was planted."""
    doubtful = [each.picture.path for each in findings.doubtful]
    groups = [{each.path for each in group.pictures} for group in findings.copies]
    together = dict.fromkeys((*KINDS, "leak"), 0)
    for path, (kind, original) in copies.items():
        together[kind] += any({path, original} <= group for group in groups)
    others = sum(not group & set(copies) for group in groups)
    flagged = sum(path in wrong for path in doubtful)
    return {
        "pictures": findings.pictures,
        "accuracy": findings.accuracy,
        "planted_labels": len(wrong),
        "found_at_half_precision": round(found_at_half_precision(doubtful, wrong) / len(wrong), 4),
        "flagged": len(doubtful),
        "found_of_flagged": round(flagged / len(wrong), 4),
        "precision_of_flagged": round(flagged / max(len(doubtful), 1), 4),
        "copies_found": {kind: f"{together[kind]} of {sum(each == kind for each, _ in copies.values())}" for kind in together},
        "leaks_named": sum(
            group.across_parts and any(copies.get(each.path, ("",))[0] == "leak" for each in group.pictures)
            for group in findings.copies
        ),
        "other_groups": others,
        "shortcuts": [shortcut.what for shortcut in findings.shortcuts],
    }


def main() -> None:
    """Plant, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="copies and leaks alone")
    given = parser.parse_args()
    wrong, copies = plant(given.data, given.work / "planted", given.seed)
    begin, processor = time.monotonic(), time.process_time()
    options = {"quick": given.quick, **({"model": given.model} if given.model else {})}
    findings = sk.check(given.work / "planted", given.work / "check.html", write_list=given.work / "list.txt", **options)
    spent = {"seconds": round(time.monotonic() - begin, 1), "processor_seconds": round(time.process_time() - processor, 1)}
    about = {"data": given.data.name, "model": findings.model, "seed": given.seed}
    print(json.dumps(about | measured(findings, wrong, copies) | spent))


if __name__ == "__main__":
    main()
