"""Whether what the SqueezeNet paper says of its shape is so: three claims, compared with studies of several seeds.

    python scripts/paper_claims.py STUDY STUDY … [--picture FILE.png]

Each STUDY is the folder of a `squeezekit search` over scripts/paper-claims.toml with a seed of its own. A JSON line is printed
for each network and each claim. A difference of accuracies is the mean over the seeds; its 95 % interval is that of Student's t,
with one standard deviation for all networks, since three seeds alone say too little of it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from squeezekit.system.figures import NotebookFigure

Fields = dict[str, Any]
BASE: Fields = {"squeeze_ratio": 0.125, "share_3x3": 0.5}
# Where the paper varies the share of 3×3 filters.
SHARES_AT = 0.5
# Accuracy rises from the second network of a pair to the first, or rises no further, which is to say by less than a point.
RISES, LEVEL, POINT = "rises", "level", 0.01
# Sections 5.2, 5.3 and 6 of the paper (Iandola et al., 2016, arXiv 1602.07360).
CLAIMS: dict[str, list[tuple[str, Fields, Fields]]] = {
    "accuracy rises with the squeeze ratio up to 0.75, and no further": [
        (RISES, {**BASE, "squeeze_ratio": 0.75}, {**BASE, "squeeze_ratio": 0.5}),
        (LEVEL, {**BASE, "squeeze_ratio": 1.0}, {**BASE, "squeeze_ratio": 0.75}),
    ],
    "accuracy rises with the share of 3×3 filters up to a half, and no further": [
        (RISES, {"squeeze_ratio": 0.5, "share_3x3": 0.5}, {"squeeze_ratio": 0.5, "share_3x3": 0.25}),
        (LEVEL, {"squeeze_ratio": 0.5, "share_3x3": 0.99}, {"squeeze_ratio": 0.5, "share_3x3": 0.5}),
    ],
    "a simple bypass helps, and more than a complex one": [
        (RISES, {**BASE, "bypass": "simple"}, BASE),
        (RISES, {**BASE, "bypass": "simple"}, {**BASE, "bypass": "complex"}),
    ],
}


@dataclass(frozen=True)
class Difference:
    """Of two networks' accuracies, 0…1, with its 95 % interval."""

    mean: float
    low: float
    high: float

    def agrees(self, kind: str) -> bool | None:
        """Whether it rises, or is level; None where the interval does not say."""
        if kind == RISES:
            return True if self.low > 0 else False if self.high < 0 else None
        return False if self.low > 0 else True if self.high < POINT else None


def accuracies(studies: list[Path]) -> tuple[list[Fields], list[int], np.ndarray]:
    """The networks, their parameters as files have them, and their validation accuracies [seeds, networks]."""
    found = [json.loads((study / "summary.json").read_text(encoding="utf-8"))["rows"] for study in studies]
    networks = [row["fields"] for row in found[0]]
    if any([row["fields"] for row in rows] != networks for rows in found):
        raise SystemExit("the studies are not of the same space; name those of one call of scripts/report_experiments.sh")
    unfinished = [row["fields"] for rows in found for row in rows if row["state"] != "done"]
    if unfinished:
        raise SystemExit(f"not finished: {unfinished}; give the search's command again")
    if [each for parts in CLAIMS.values() for _kind, *pair in parts for each in pair if each not in networks]:
        raise SystemExit("the studies lack networks that the claims are about; search scripts/paper-claims.toml")
    return (
        networks,
        [row["sizes"]["parameters"] for row in found[0]],
        np.array([[row["accuracy"] for row in rows] for rows in found]),
    )


def difference(found: np.ndarray, better: int, worse: int) -> Difference:
    """Of two networks [seeds, networks]: paired by seed, since a seed has one split and one order of the images."""
    seeds, networks = found.shape
    # What a seed does to all networks alike is no spread.
    spread = found - found.mean(1, keepdims=True)
    degrees = (seeds - 1) * (networks - 1)
    deviation = sqrt(float(((spread - spread.mean(0)) ** 2).sum()) / degrees)
    mean = float((found[:, better] - found[:, worse]).mean())
    reach = float(student.ppf(0.975, degrees)) * deviation * sqrt(2 / seeds)
    return Difference(round(mean, 5), round(mean - reach, 5), round(mean + reach, 5))


def verdict(agreements: list[bool | None]) -> str:
    """What differences that each agree, do not, or do not say come to."""
    if False in agreements:
        return "not confirmed"
    return "undecided" if None in agreements else "confirmed"


def curves(networks: list[Fields]) -> dict[str, dict[str, int]]:
    """What the paper varies -> the values tried -> the number of the network."""
    plain = [each for each in networks if each.get("bypass", "none") == "none"]
    ratios = {f"{each['squeeze_ratio']:g}": each for each in plain if each["share_3x3"] == BASE["share_3x3"]}
    shares = {f"{each['share_3x3']:g}": each for each in plain if each["squeeze_ratio"] == SHARES_AT}
    bypasses = {kind: {**BASE, "bypass": kind} for kind in ("simple", "complex")}
    varied = {
        "squeeze ratio (3×3 share 0.5)": ratios,
        f"share of 3×3 filters (squeeze ratio {SHARES_AT})": shares,
        "bypass (squeeze ratio 0.125)": {"none": BASE, **bypasses},
    }
    return {
        name: {value: networks.index(each) for value, each in sorted(tried.items(), key=lambda item: _order(item[0]))}
        for name, tried in varied.items()
    }


def _order(value: str) -> float:
    return ("none", "simple", "complex").index(value) if value.isalpha() else float(value)


def draw(networks: list[Fields], found: np.ndarray, path: Path) -> None:
    """A dot for each seed, a line through the means."""
    figure = NotebookFigure(figsize=(10, 3.6), layout="constrained")
    for axis, (name, tried) in zip(figure.subplots(1, 3, sharey=True), curves(networks).items(), strict=True):
        accuracy = 100 * found[:, list(tried.values())]
        axis.plot(range(len(tried)), accuracy.mean(0), color="tab:blue")
        for seed in accuracy:
            axis.plot(range(len(tried)), seed, "o", color="tab:blue", markersize=4, alpha=0.5)
        axis.set_xticks(range(len(tried)), [*tried])
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("validation accuracy (%)")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the networks, then the claims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", metavar="STUDY", type=Path)
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw them, too")
    given = parser.parse_args()
    studies = given.studies
    if len(studies) < 2:
        parser.error("one seed has no spread; name the studies of two or more")
    networks, parameters, found = accuracies(studies)
    if given.picture:
        draw(networks, found, given.picture)
    for i, fields in enumerate(networks):
        print(
            json.dumps(
                {
                    **fields,
                    "parameters": parameters[i],
                    "accuracy": round(float(found[:, i].mean()), 5),
                    "of_seeds": found[:, i].tolist(),
                }
            )
        )
    for claim, parts in CLAIMS.items():
        differences = [difference(found, networks.index(better), networks.index(worse)) for _kind, better, worse in parts]
        said = verdict([each.agrees(kind) for each, (kind, _better, _worse) in zip(differences, parts, strict=True)])
        named = [
            {"of": better, "over": worse, **vars(each)} for each, (_kind, better, worse) in zip(differences, parts, strict=True)
        ]
        print(json.dumps({"claim": claim, "verdict": said, "differences": named}, ensure_ascii=False))


if __name__ == "__main__":
    main()
