"""Cards, their table, the frontier and the page of compression are what their numbers make."""

import json
from pathlib import Path

import compression_page
import frontier
import model_cards
import pytest

from squeezekit.pretrained.files import pretrained_names

ROOT = Path(__file__).parents[1]
AGAIN = "its numbers or its template have changed; run scripts/{}"


@pytest.mark.parametrize("name", pretrained_names())
def test_a_card_is_what_its_numbers_make(name):
    folder = ROOT / "docs" / "results" / "models"
    speeds = [json.loads(line) for line in (ROOT / "docs" / "runs" / "inference" / "box.jsonl").read_text().splitlines()]
    own = [line for line in speeds if line["model"] == name and "ratio" in line]
    card, about = (json.loads((folder / place).read_text(encoding="utf-8")) for place in (f"{name}.json", "about.json"))
    assert model_cards.page(card, own, about[name]) == (folder / f"{name}.md").read_text(encoding="utf-8"), AGAIN.format(
        "model_cards.py"
    )


def test_the_table_of_cards_is_what_they_make():
    folder = ROOT / "docs" / "results" / "models"
    assert model_cards.overview(folder) == (folder / "README.md").read_text(encoding="utf-8"), AGAIN.format("model_cards.py")


def test_the_frontier_is_what_its_rows_make():
    page = frontier.page((frontier.RUNS / "page.md").read_text(encoding="utf-8"))
    assert page == frontier.PAGE.read_text(encoding="utf-8"), AGAIN.format("frontier.py")
    readme = frontier.README.read_text(encoding="utf-8")
    assert frontier.with_models(readme) == readme, AGAIN.format("frontier.py")
    assert frontier.PICTURE.exists() and frontier.FIRST_PICTURE.exists()


def test_what_is_dominated_is_said():
    first, second, third = (
        {"name": "a", "accuracy": 0.9, "bytes": 10, "macs": 5},
        {"name": "b", "accuracy": 0.9, "bytes": 20, "macs": 4},
        {"name": "c", "accuracy": 0.8, "bytes": 20},
    )
    rows = [first, second, third]
    assert [frontier.dominating(row, rows, "bytes") for row in rows] == [[], ["a"], ["a", "b"]]
    assert [frontier.dominating(row, rows, "macs") for row in rows[:2]] == [["b"], []]


def test_networks_of_others_stand_beside_ours_that_were_trained_alike(monkeypatch):
    row = {
        "macs": 1e6,
        "parameters": 10,
        "accuracy": 0.5,
        "official": 0.5,
        "epochs": 12,
        "teacher": True,
        "seed": 0,
        "precision": "bf16",
    }
    lines = {
        "published.jsonl": [{"name": "theirs", "network": "theirs", "accuracy": 0.6, "epochs": 100, "source": "a paper"}],
        "rows.jsonl": [
            {**row, "network": "theirs"},
            {**row, "network": "alike"},
            {**row, "network": "alone", "teacher": False},
            {**row, "network": "again", "seed": 1},
            {**row, "network": "longer", "epochs": 40},
        ],
    }
    monkeypatch.setattr(frontier, "rows_of", lines.get)
    trained, beside = frontier.page("{trained}|||{beside}").split("|||")
    assert [name for name in ("theirs", "alike", "alone", "again", "longer") if f"`{name}`" in beside] == ["theirs", "alike"]
    assert [name for name in ("theirs", "alike", "alone", "again", "longer") if f"`{name}`" in trained] == [
        "alone",
        "again",
        "longer",
    ]


def test_the_page_of_compression_is_what_its_lines_make():
    page = compression_page.page((compression_page.RUNS / "page.md").read_text(encoding="utf-8"))
    assert page == compression_page.PAGE.read_text(encoding="utf-8"), AGAIN.format("compression_page.py")
    assert compression_page.PICTURE.exists()


def test_the_smallest_file_that_loses_little_is_chosen_by_the_images_that_judge():
    rows = [
        {"method": "float32", "bytes": 400, "validation": 0.9, "test": 0.9},
        {"method": "a", "bytes": 40, "validation": 0.895, "test": 0.8},
        {"method": "a", "bytes": 30, "validation": 0.894, "test": 0.9},
        {"method": "a, folded", "bytes": 35, "validation": 0.896, "test": 0.89},
    ]
    assert compression_page.chosen(rows, ["a"]) is rows[1]
    assert compression_page.chosen(rows, ["a", "a, folded"]) is rows[3]
    assert compression_page.chosen(rows, ["a"], max_drop=0.1) is None
    assert compression_page.lost(rows[1], rows, "test") == 10


def test_what_the_guide_says_of_imagenet_is_what_was_measured():
    line = json.loads((ROOT / "docs" / "runs" / "imagenet" / "names.jsonl").read_text())
    page = (ROOT / "docs" / "guides" / "pretrained.md").read_text(encoding="utf-8")
    for title, found in (("as imported", line), ("with Caffe's border", line["with_border"])):
        shares = [
            f"{found[name]:.1%} ({found[f'{name}_interval'][0]:.1%} to {found[f'{name}_interval'][1]:.1%})"
            for name in ("top1", "top1_of_ten")
        ]
        assert f"| {title} | {line['photos']} | {' | '.join(shares)} |" in page
    assert f"agree on {line['same_answers']:.1%} of the photos" in page
    assert f"{line['bytes']:,} bytes with the names of the classes" in page
