"""What the SqueezeNet paper says of its shape, judged by studies of several seeds."""

import json
import sys
from pathlib import Path

import numpy as np
import paper_claims
import pytest
from PIL import Image

from squeezekit.search.space import named_space

SCRIPTS = Path(__file__).parents[1] / "scripts"
NETWORKS = named_space(str(SCRIPTS / "paper-claims.toml"), "squeezenet-cifar").grid()


def accuracy_of(network):
    """As the paper has it: level from a squeeze ratio of 0.75 and a share of a half on, a simple bypass best."""
    bypass = {"none": 0, "simple": 0.02, "complex": 0.01}[network.get("bypass", "none")]
    return 0.7 + 0.1 * min(network["squeeze_ratio"], 0.75) + 0.1 * min(network["share_3x3"], 0.5) + bypass


def studies(folder, accuracy=accuracy_of, noise=0.001):
    """Of three seeds: a seed moves all accuracies together, and each of them a little."""
    for seed in range(3):
        rows = [
            {
                "fields": network,
                "state": "done",
                "sizes": {"parameters": 1000 + i},
                "accuracy": accuracy(network) + 0.01 * seed + noise * ((5 * i + 3 * seed) % 7 - 3),
            }
            for i, network in enumerate(NETWORKS)
        ]
        (folder / str(seed)).mkdir(parents=True)
        (folder / str(seed) / "summary.json").write_text(json.dumps({"rows": rows}))
    return [str(folder / str(seed)) for seed in range(3)]


@pytest.fixture
def judged(monkeypatch, capsys):
    def rows(folders):
        monkeypatch.setattr(sys, "argv", ["paper_claims.py", *folders])
        paper_claims.main()
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return found[: len(NETWORKS)], {row["claim"]: row for row in found[len(NETWORKS) :]}

    return rows


def test_what_is_so_is_confirmed(judged, tmp_path):
    networks, claims = judged(studies(tmp_path))
    assert [row["squeeze_ratio"] for row in networks[:5]] == [0.125, 0.25, 0.5, 0.75, 1.0] and len(networks[0]["of_seeds"]) == 3
    assert [row["parameters"] for row in networks] == [*range(1000, 1011)]
    assert len(claims) == 3 and {row["verdict"] for row in claims.values()} == {"confirmed"}
    for row in claims.values():
        assert all(each["low"] < each["mean"] < each["high"] for each in row["differences"])


def test_a_picture_has_a_curve_for_each_claim(judged, tmp_path):
    judged([*studies(tmp_path), "--picture", str(tmp_path / "claims.png")])
    assert Image.open(tmp_path / "claims.png").width > 800
    ratios, shares, bypasses = paper_claims.curves(NETWORKS).values()
    assert [*ratios] == ["0.125", "0.25", "0.5", "0.75", "1"] and [*shares] == ["0.01", "0.25", "0.5", "0.75", "0.99"]
    assert [NETWORKS[number].get("bypass", "none") for number in bypasses.values()] == ["none", "simple", "complex"]
    assert ratios["0.5"] == shares["0.5"] and ratios["0.125"] == bypasses["none"]


def test_noise_decides_nothing(judged, tmp_path):
    _networks, claims = judged(studies(tmp_path, noise=0.03))
    assert {row["verdict"] for row in claims.values()} == {"undecided"}


def test_what_is_not_so_is_not_confirmed(judged, tmp_path):
    _networks, claims = judged(
        studies(tmp_path, lambda network: 1.5 - accuracy_of({**network, "share_3x3": 1 - network["share_3x3"]}))
    )
    assert {row["verdict"] for row in claims.values()} == {"not confirmed"}


def test_an_interval_covers_what_is_so_nineteen_times_in_twenty():
    random, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        found = random.normal(0, 0.01, (3, 11)) + random.normal(0, 0.05, (3, 1))
        each = paper_claims.difference(found, 4, 7)
        covered += each.low <= 0 <= each.high
    assert 930 <= covered <= 970


@pytest.mark.parametrize("spoil", ["one seed", "unfinished", "other networks", "another space"])
def test_what_is_no_comparison_says_so(judged, capsys, tmp_path, spoil):
    folders = studies(tmp_path)
    summary = tmp_path / "1" / "summary.json"
    rows = json.loads(summary.read_text())["rows"]
    if spoil == "unfinished":
        rows[3]["state"] = "running"
    if spoil == "other networks":
        rows.pop()
    summary.write_text(json.dumps({"rows": rows}))
    if spoil == "another space":
        for folder in folders:
            (Path(folder) / "summary.json").write_text(json.dumps({"rows": rows[:3]}))
    with pytest.raises(SystemExit) as stop:
        judged(folders[:1] if spoil == "one seed" else folders)
    assert stop.value.code and not capsys.readouterr().out


def test_the_grid_of_the_report_is_a_space():
    assert len(named_space(str(SCRIPTS / "report-grid.toml"), "squeezenet-cifar").grid()) == 36
